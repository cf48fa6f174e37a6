"""DreamerV3 in JAX and Flax."""
