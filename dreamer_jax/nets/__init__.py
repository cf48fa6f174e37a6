"""Linen modules: parameters and plain forward passes (level L2)."""
