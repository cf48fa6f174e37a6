"""Mistakes planted into the package one by one, to see whether the tests notice each."""
