"""Checks: what a system is claimed to do, stated before it is run, and whether it does."""
