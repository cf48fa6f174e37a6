"""The suites that tasks are named by, one file each (level H1)."""
