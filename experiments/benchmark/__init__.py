"""Timings of each part and of the whole; `python -m experiments.benchmark --help`."""
