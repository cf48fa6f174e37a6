"""States of device environments as plain named arrays, for checkpoints and snapshots.

A state may hold typed keys (`jax.random.key` of the default generator), which no file format
knows: they are stored as their integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def name_state(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """Return host copies of a state's leaves, named by their path after `prefix`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path, prefix): np.array(_plain(leaf)) for path, leaf in leaves}


def restore_state(shapes: Any, arrays: Mapping[str, np.ndarray], prefix: str) -> Any:
    """Return a state like `shapes` with leaves from `arrays`, the inverse of `name_state`.

    Args:
        shapes: A state, or what `jax.eval_shape` says of one.
        arrays: By name.
        prefix: Of the names.
    """

    def pick(path: Any, leaf: Any) -> jax.Array:
        array = jnp.asarray(arrays[_name(path, prefix)])
        if _is_key(leaf):
            return jax.random.wrap_key_data(array)
        return array

    return jax.tree_util.tree_map_with_path(pick, shapes)


def _name(path: Any, prefix: str) -> str:
    return prefix + jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
