"""Latent dynamics, one file each behind `protocol.Dynamics` (level L2)."""
