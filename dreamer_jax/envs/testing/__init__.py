"""Environments of our own, made to check the systems that learn in them."""
