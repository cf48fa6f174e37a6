"""Programs run from a checkout: parity, benchmark, sweeps."""
