"""What people see of a run: metrics, console, pictures, traces (level H2)."""
