"""`make truth` does real faults, and measures how long a watcher is wrong about each. docs/truth.md explains the table."""
