"""Sweeps over tasks × seeds × overrides: plan, run anywhere, resume, gather."""
