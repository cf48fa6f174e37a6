"""What options a run has, and which of their values it can have."""
