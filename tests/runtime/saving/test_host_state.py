"""Files of a checkpoint: every value comes back as it was, and nothing is pickled."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dreamer_jax.runtime.saving.host_state import decode, encode, names


def _round_trip(state):
    document, arrays = encode(state)
    return decode(json.loads(json.dumps(document)), arrays)


def test_generator_goes_on_where_it_was():
    rng = np.random.default_rng(7)
    rng.random(5)
    twin = np.random.default_rng()
    twin.bit_generator.state = _round_trip(rng.bit_generator.state)
    assert rng.random(11).tolist() == twin.random(11).tolist()


def test_scalars_bytes_and_nested_arrays_keep_their_types():
    state = {
        "envs": [{"snapshot": b"\x00\xff", "obs": np.arange(3, dtype=np.uint8)}, None],
        "mean": np.float64(0.1),
        "flag": np.bool_(True),
        "best": float("-inf"),
    }
    back = _round_trip(state)
    assert back["envs"][0]["snapshot"] == b"\x00\xff"
    assert back["envs"][0]["obs"].dtype == np.uint8
    assert back["envs"][0]["obs"].tolist() == [0, 1, 2]
    assert back["envs"][1] is None
    assert type(back["mean"]) is np.float64 and back["mean"] == 0.1
    assert type(back["flag"]) is np.bool_
    assert back["best"] == float("-inf")


def test_encoded_arrays_do_not_follow_later_changes():
    """A ring that the run keeps filling must not change under the saving thread."""
    ring = np.zeros(3)
    document, arrays = encode({"ring": ring})
    ring[:] = 1
    assert decode(document, arrays)["ring"].tolist() == [0, 0, 0]


def test_second_part_of_a_document_does_not_overwrite_the_arrays_of_the_first():
    first, arrays = encode({"a": np.arange(2)})
    second, arrays = encode({"a": np.arange(5)}, arrays)
    assert decode(first, arrays)["a"].tolist() == [0, 1]
    assert decode(second, arrays)["a"].tolist() == [0, 1, 2, 3, 4]


def test_every_array_is_named_once():
    """The reader refuses a second mention: it would be copied for each."""
    state = {"a": [np.arange(3), {"b": b"xyz", "c": np.float32(1)}], "d": "__array__"}
    document, arrays = encode(state)
    assert sorted(names(document)) == sorted(arrays) == ["0", "1", "2"]


@pytest.mark.parametrize("bad", [{"a": {3: 1}}, {"a": {"__array__": 1}}, {"a": [{"b": {1, 2}}]}])
def test_what_would_not_come_back_is_refused_with_its_place(bad):
    with pytest.raises(TypeError, match=r"host state\['a'\]"):
        encode(bad)


_KEYS = st.text().filter(lambda key: not key.startswith("__"))  # the codes are refused
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.floats(allow_nan=False)
    | hnp.arrays(st.sampled_from([np.int32, np.float32, np.bool_]), hnp.array_shapes(max_dims=2))
)


@settings(max_examples=50)
@given(
    st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
        max_leaves=7,
    )
)
def test_any_state_comes_back(state):
    np.testing.assert_equal(_round_trip(state), state)
