"""The own scores of benchmarks, from the metrics of runs (level H2)."""
