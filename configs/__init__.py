"""The configurations that ship with dreamer_jax: values only, each with its unit and source."""
