"""`make bench` compares this program with what a user would take instead. docs/benchmarks.md explains the table."""
