"""Trees of device arrays as plain named arrays, for checkpoints and snapshots.

A name is the path to a leaf behind a prefix: `state/params/actor/mlp/…`. Typed keys
(`jax.random.key` of the default generator), which no file format knows, are stored as integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Table = dict[str, tuple[tuple[int, ...], Any]]  # shape and dtype by name


def name_arrays(
    tree: Any, prefix: str, to_host: Callable[[Any], Any] = np.asarray
) -> dict[str, np.ndarray]:
    """Return host copies of a tree's leaves by name.

    Args:
        tree: Of arrays.
        prefix: Of the names.
        to_host: From one array to the host's.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path, prefix): np.array(to_host(_plain(leaf))) for path, leaf in leaves}


def array_table(tree: Any, prefix: str) -> Table:
    """Return shape and dtype of every leaf under the names of `name_arrays`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path, prefix): (leaf.shape, leaf.dtype) for path, leaf in leaves}


def restore_arrays(tree: Any, arrays: Mapping[str, np.ndarray], prefix: str) -> Any:
    """Return a tree like `tree` with leaves from `arrays`, the inverse of `name_arrays`.

    Args:
        tree: Of arrays, or what `jax.eval_shape` says of one.
        arrays: By name.
        prefix: Of the names.
    """

    def pick(path: Any, leaf: Any) -> jax.Array:
        array = arrays[_name(path, prefix)]
        if _is_key(leaf):
            return jax.random.wrap_key_data(jnp.asarray(array))
        return jnp.asarray(array, dtype=leaf.dtype)

    return jax.tree_util.tree_map_with_path(pick, tree)


def _name(path: Any, prefix: str) -> str:
    return prefix + jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
