"""One array of an observation as one key of a record."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.observations import class_leaf, observation_leaf
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

FLOAT, INT, BYTE = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)


def test_float64_becomes_float32():
    leaf = observation_leaf("x", np.float64, (3,))
    value = leaf.convert(np.array([0.1, 2.0, -3.0]))
    assert leaf.space == Space(FLOAT, (3,))
    assert value.dtype == np.float32
    assert value.tolist() == np.array([0.1, 2.0, -3.0], np.float32).tolist()


def test_float_scalars_become_vectors_of_one():
    leaf = observation_leaf("x", np.float64, ())
    assert leaf.space.shape == (1,)
    assert leaf.convert(0.5).tolist() == [0.5]


def test_conversion_copies_the_environments_buffer():
    """An environment that reuses its buffer must not change records already handed out."""
    for dtype in (np.float32, np.uint8):
        buffer = np.ones((20, 20), dtype)
        value = observation_leaf("x", dtype, (20, 20)).convert(buffer)
        buffer[...] = 0
        assert value.all()


def test_wide_integers_become_int32_quantities():
    leaf = observation_leaf("x", np.int64, (2,), low=-(2**40), high=2**40)
    value = leaf.convert(np.array([-5, 2**31 - 1]))
    assert leaf.space == Space(INT, (2,)) and value.dtype == INT
    assert value.tolist() == [-5, 2**31 - 1]


@pytest.mark.parametrize("outside", [2**31, -(2**31) - 1])
def test_integers_that_do_not_fit_are_refused_not_wrapped(outside):
    leaf = observation_leaf("score", np.int64, (), low=-(2**40), high=2**40)
    with pytest.raises(ValueError, match=f"'score' holds {outside}"):
        leaf.convert(np.int64(outside))


def test_narrow_integers_keep_their_type():
    leaf = observation_leaf("ram", np.uint8, (128,), low=0, high=255)
    assert leaf.space == Space(BYTE, (128,))
    assert leaf.convert(np.full(128, 200, np.uint8)).dtype == np.uint8


def test_integers_of_few_values_become_classes_from_zero():
    leaf = observation_leaf("x", np.int64, (3,), low=np.array([-2, -1, -2]), high=4)
    assert leaf.space == Space(INT, (3,), classes=7)
    assert leaf.convert(np.array([-2, 0, 4])).tolist() == [0, 2, 6]


def test_classes_outside_their_range_are_refused():
    leaf = class_leaf("x", (), 3, start=5)
    assert leaf.convert(7) == 2
    with pytest.raises(ValueError, match="outside 5 … 7"):
        leaf.convert(8)


def test_unsigned_classes_are_shifted_without_wrapping():
    leaf = observation_leaf("x", np.uint8, (2,), low=3, high=9)
    assert leaf.convert(np.array([3, 9], np.uint8)).tolist() == [0, 6]


def test_bools_are_two_classes():
    leaf = observation_leaf("x", np.bool_, (2, 3))
    assert leaf.space == Space(np.dtype(np.bool_), (2, 3), classes=2)


def test_pictures_keep_their_bytes_and_gain_a_channel_axis():
    assert observation_leaf("x", np.uint8, (5, 7, 3)).space == Space(BYTE, (5, 7, 3))
    leaf = observation_leaf("x", np.uint8, (16, 17), low=0, high=255)
    assert leaf.space == Space(BYTE, (16, 17, 1)) and leaf.space.is_image
    assert leaf.convert(np.zeros((16, 17), np.uint8)).shape == (16, 17, 1)


def test_small_byte_matrices_are_no_pictures():
    assert observation_leaf("x", np.uint8, (15, 17), low=0, high=255).space.shape == (15, 17)


def test_a_wrong_shape_is_refused_not_broadcast():
    leaf = observation_leaf("x", np.float32, (3,))
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        leaf.convert(np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("dtype", "shape"), [(np.float32, (5, 7, 3)), (np.uint8, (2, 5, 7, 3)), (np.complex64, (3,))]
)
def test_what_no_key_can_hold_is_refused_by_name(dtype, shape):
    with pytest.raises(UserError, match="'depth'"):
        observation_leaf("depth", dtype, shape)
