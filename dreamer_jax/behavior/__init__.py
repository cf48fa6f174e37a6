"""Behaviours learned from the world model (level L3)."""
