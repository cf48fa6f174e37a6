"""Interfaces of other libraries, and simulators of one's own, as environments (level H1)."""
