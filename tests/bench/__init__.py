"""`make bench`: this program beside what a user would pick instead of it, in one run. README.md explains the table."""
