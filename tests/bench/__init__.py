"""`make bench`: this program beside what a user would pick instead of it, in one run. docs/benchmarks.md explains the table."""
