"""Heads with meaning: what a network's outputs say, and what they learn from (level L2)."""
