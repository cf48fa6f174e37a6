"""One array of an observation as one key of a record."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.adapters.observations import class_leaf, missing_value, observation_leaf
from dreamer_jax.errors import InvalidValueError, RecordError, UserError
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
    assert observation_leaf("x", np.uint8, (16, 17, 3)).space == Space(BYTE, (16, 17, 3))
    leaf = observation_leaf("x", np.uint8, (16, 17), low=0, high=255)
    assert leaf.space == Space(BYTE, (16, 17, 1)) and leaf.space.is_image
    assert leaf.convert(np.zeros((16, 17), np.uint8)).shape == (16, 17, 1)


def test_small_byte_matrices_are_no_pictures():
    assert observation_leaf("x", np.uint8, (15, 17), low=0, high=255).space.shape == (15, 17)


@pytest.mark.parametrize(
    ("shape", "stored", "where"),
    [
        ((20, 18, 3), (20, 18, 3), (7, 5, 2)),
        ((3, 20, 18), (20, 18, 3), (2, 7, 5)),  # channels first
        ((4, 20, 18), (20, 18, 4), (2, 7, 5)),  # a stack of grey frames
        ((2, 20, 18, 3), (20, 18, 6), (0, 7, 5, 2)),  # a stack of colour frames
        ((2, 3, 20, 18), (20, 18, 6), (0, 2, 7, 5)),
        ((20, 18, 1), (20, 18, 1), (7, 5, 0)),
    ],
)
def test_pictures_of_any_layout_end_with_their_channels(shape, stored, where):
    leaf = observation_leaf("x", np.uint8, shape, low=0, high=255)
    picture = np.zeros(shape, np.uint8)
    picture[where] = 9
    found = leaf.convert(picture)
    channel = min(2, stored[2] - 1)
    assert leaf.space == Space(BYTE, stored) and leaf.space.is_image
    assert found[7, 5, channel] == 9 and found.sum() == 9
    picture[...] = 1
    assert found.sum() == 9 and found.flags.c_contiguous


@pytest.mark.parametrize(
    ("dtype", "high", "given", "bytes_"),
    [
        (np.float32, 1.0, [0.0, 0.5, 1.0], [0, 128, 255]),
        (np.float64, 255.0, [0.0, 127.6, 255.0], [0, 128, 255]),
        (np.int64, 255, [0, 127, 255], [0, 127, 255]),
    ],
)
def test_pictures_of_other_types_become_bytes(dtype, high, given, bytes_):
    leaf = observation_leaf("x", dtype, (16, 16, 3), low=0, high=high)
    picture = np.zeros((16, 16, 3), dtype)
    picture[3, 4] = given
    assert leaf.space.is_image and leaf.convert(picture)[3, 4].tolist() == bytes_
    for outside in (-high / 10, high * 1.1, np.nan if dtype != np.int64 else 1000):
        picture[0, 0, 0] = outside
        with pytest.raises(InvalidValueError, match="picture 'x' holds"):
            leaf.convert(picture)


def test_a_map_of_floats_keeps_its_digits():
    assert observation_leaf("x", np.float32, (20, 20), low=0, high=1).space == Space(
        FLOAT, (20, 20)
    )


@pytest.mark.parametrize(
    ("dtype", "classes"), [(np.float32, None), (np.bool_, 2), (np.uint8, None), (np.int64, 5)]
)
def test_more_than_two_axes_are_flattened(dtype, classes):
    leaf = observation_leaf("x", dtype, (2, 3, 5), low=0, high=4 if classes == 5 else 200)
    value = np.arange(30).reshape(2, 3, 5) % 5
    assert leaf.space.shape == (30,) and leaf.space.classes == classes
    assert leaf.convert(value.astype(dtype)).tolist() == value.astype(dtype).ravel().tolist()


def test_what_is_absent_is_marked():
    assert missing_value(Space(FLOAT, (2,))).tolist() == [-np.inf, -np.inf]
    assert missing_value(Space(INT, (), 3)) == -1 and missing_value(Space(INT, (), 3)).dtype == INT
    assert not missing_value(Space(BYTE, (4, 4, 3))).any()
    assert missing_value(Space(np.dtype(np.bool_), (2,), 2)).tolist() == [False, False]


def test_a_wrong_shape_is_refused_not_broadcast():
    leaf = observation_leaf("x", np.float32, (3,))
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        leaf.convert(np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [(np.float32, (64, 65, 3)), (np.uint8, (64, 64, 17)), (np.complex64, (3,))],
)
def test_what_no_key_can_hold_is_refused_by_name(dtype, shape):
    with pytest.raises(UserError, match="'depth'"):
        observation_leaf("depth", dtype, shape)


@pytest.mark.parametrize(
    ("leaf", "value", "lost"),
    [
        (class_leaf("x", (), 3), 1.7, r"1\.7"),
        (class_leaf("x", (2,), 5), np.array([1.0, 2.5]), r"2\.5"),
        (observation_leaf("x", np.int64, (3,), -5, 500), np.array([0, 0.9, -0.9]), r"0\.9"),
        (observation_leaf("x", np.int32, ()), np.float32(-0.25), r"-0\.25"),
        (observation_leaf("x", np.int32, ()), np.nan, "nan"),
        (observation_leaf("x", np.bool_, (2,)), np.array([0, 2]), "2"),
        (observation_leaf("x", np.bool_, ()), 0.5, r"0\.5"),
        (observation_leaf("x", np.uint8, (16, 16, 3)), np.full((16, 16, 3), 0.5), r"0\.5"),
    ],
)
def test_a_value_that_its_type_would_change_is_refused(leaf, value, lost):
    """Symptom: the agent was blind, 0.1 … 0.8 recorded as 0. Cause: a cast nobody looked at."""
    message = rf"'x' holds {lost}, which {leaf.space.dtype} cannot hold; give floats a float space"
    with pytest.raises(InvalidValueError, match=message):
        leaf.convert(value)


def test_other_types_of_the_same_values_are_taken():
    whole = observation_leaf("x", np.int64, (2,), -5, 500).convert(np.array([3.0, -4.0]))
    assert whole.tolist() == [3, -4] and whole.dtype == INT
    assert class_leaf("x", (), 3).convert(True) == 1
    assert observation_leaf("x", np.bool_, (2,)).convert([0, 1.0]).tolist() == [False, True]
    assert observation_leaf("x", np.float32, (2,)).convert([1, 2]).tolist() == [1.0, 2.0]
    picture = observation_leaf("x", np.uint8, (16, 16, 3)).convert(np.full((16, 16, 3), 7.0))
    assert picture.dtype == BYTE and (picture == 7).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
@pytest.mark.parametrize("value", ["1", None, 1j])
def test_what_is_no_number_is_refused(dtype, value):
    message = rf"'x' is \S+, no number; its space says {np.dtype(dtype)}"
    with pytest.raises(RecordError, match=message):
        observation_leaf("x", dtype, ()).convert(value)
