"""make truth: real faults, and for how long a watcher is wrong about each. docs/truth.md explains the table."""
