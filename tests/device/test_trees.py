"""Trees as named arrays: every leaf by its path, keys of random numbers as integers, and back."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.device.compiled import name_arrays as name_arrays_of_devices
from dreamer_jax.device.trees import array_table, name_arrays, restore_arrays


class Part(NamedTuple):
    deter: jax.Array
    others: tuple[jax.Array, ...]


def _tree() -> dict[str, object]:
    half = jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3) / 8
    return {
        "part": Part(half, (jnp.array([True, False]), jnp.uint8(200))),
        "keys": jax.random.split(jax.random.key(3), 5),
        "empty": (),
    }


def test_names_are_paths_behind_the_prefix() -> None:
    arrays = name_arrays(_tree(), "state/")
    names = {"state/part/deter", "state/part/others/0", "state/part/others/1", "state/keys"}
    assert set(arrays) == names
    assert all(type(array) is np.ndarray for array in arrays.values())
    assert arrays["state/part/deter"].dtype == jnp.bfloat16
    assert arrays["state/keys"].dtype == np.uint32  # no file knows typed keys
    assert arrays["state/part/others/1"] == 200


def test_restoring_is_the_inverse_of_naming() -> None:
    tree = _tree()
    arrays = name_arrays(tree, "x/") | {"y/other": np.zeros(3)}
    for like in (tree, jax.eval_shape(lambda: tree)):
        again = restore_arrays(like, arrays, "x/")
        assert jax.tree.structure(again) == jax.tree.structure(tree)
        same = lambda x, y: x.dtype == y.dtype and bool((x == y).all())
        assert jax.tree.all(jax.tree.map(same, again, tree))
    draw = lambda keys: jax.random.uniform(keys[4])
    assert draw(again["keys"]) == draw(tree["keys"])


def test_a_missing_array_is_named() -> None:
    arrays = name_arrays(_tree(), "x/")
    del arrays["x/part/others/0"]
    with pytest.raises(KeyError, match="x/part/others/0"):
        restore_arrays(_tree(), arrays, "x/")


def test_the_table_tells_shape_and_dtype_of_every_name() -> None:
    tree = {"part": _tree()["part"]}
    table = array_table(jax.eval_shape(lambda: tree), "z/")
    arrays = name_arrays(tree, "z/")
    assert table == {name: (array.shape, array.dtype) for name, array in arrays.items()}


def test_the_door_to_devices_gives_the_same_names() -> None:
    tree = {"part": _tree()["part"]}
    one, two = name_arrays(tree, "z/"), name_arrays_of_devices(tree, "z/")
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])
