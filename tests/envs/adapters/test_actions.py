"""The agent's actions, [−1, 1] and class indices, in the environment's own units."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.adapters.actions import (
    action_range,
    missing_bounds,
    random_actions,
    zero_actions,
)
from dreamer_jax.types import Space

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int32)


def test_bounded_actions_are_mapped_from_the_unit_range():
    to_environment = action_range(np.array([-2.0, 0.0, 3.0]), np.array([2.0, 10.0, 4.0]), FLOAT)
    assert to_environment(np.array([-1.0, -1.0, -1.0])).tolist() == [-2.0, 0.0, 3.0]
    assert to_environment(np.array([0.0, 0.0, 0.0])).tolist() == [0.0, 5.0, 3.5]
    assert to_environment(np.array([0.5, 1.0, 1.0])).tolist() == [1.0, 10.0, 4.0]


def test_actions_beyond_the_unit_range_are_clipped_first():
    to_environment = action_range(np.array([-2.0]), np.array([2.0]), FLOAT)
    assert to_environment(np.array([7.0])).tolist() == [2.0]
    assert to_environment(np.array([-7.0])).tolist() == [-2.0]


@pytest.mark.parametrize("bound", [np.inf, np.finfo(np.float32).max])
def test_unbounded_actions_pass_through_clipped_to_the_unit_range(bound):
    to_environment = action_range(np.array([-bound]), np.array([bound]), FLOAT)
    assert to_environment(np.array([0.25])).tolist() == [0.25]
    assert to_environment(np.array([3.0])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, np.inf, [0.0, 1.0, 2.0]),
        (5.0, np.inf, [5.0, 6.0, 7.0]),
        (-0.5, np.finfo(np.float32).max, [-0.5, 0.5, 1.5]),
        (-7.0, np.inf, [-1.0, 0.0, 1.0]),
        (-np.inf, 0.0, [-2.0, -1.0, 0.0]),
        (-np.inf, -3.0, [-5.0, -4.0, -3.0]),
        (-np.inf, 7.0, [-1.0, 0.0, 1.0]),
    ],
)
def test_a_missing_bound_costs_no_part_of_the_actors_range(low, high, expected):
    """Symptom: Box(5, inf) always acted 5. Cause: [-1, 1] was clipped to the bound, not moved."""
    to_environment = action_range(np.array([low]), np.array([high]), FLOAT)
    assert [to_environment(np.array([a])).item() for a in (-1.0, 0.0, 1.0)] == expected


def test_missing_bounds_are_told_with_what_stands_for_them():
    inf = np.inf
    assert missing_bounds("x", np.array([-1.0, 2.0]), np.array([1.0, 3.0])) == []
    assert missing_bounds("x", -inf, inf) == [
        "action 'x' lacks a bound; the agent acts in -1 … 1; give it finite bounds if it shall "
        "reach further"
    ]
    (note,) = missing_bounds("x", np.array([0.0, -2.0, 5.0]), np.array([inf, 2.0, inf]))
    assert note.startswith(
        "action 'x' lacks bounds of 2 of 3 elements; the agent acts in 0 … 2, 5 … 7;"
    )
    (note,) = missing_bounds("x", np.arange(5.0), np.full(5, inf))
    assert "of 5 of 5 elements; the agent acts in 0 … 2, 1 … 3, 2 … 4, …;" in note


def test_the_environment_gets_its_own_dtype():
    to_environment = action_range(np.array([-1.0]), np.array([1.0]), np.dtype(np.float64))
    assert to_environment(np.zeros(1, np.float32)).dtype == np.float64


SPACES = {
    "b": Space(INT, (), 3),
    "a": Space(INT, (2,), 5),
    "c": Space(FLOAT, (2, 3)),
}


def test_random_actions_cover_their_spaces_and_nothing_else():
    actions = random_actions(SPACES, np.random.default_rng(0), 1009)
    assert {k: (v.shape, v.dtype) for k, v in actions.items()} == {
        "a": ((1009, 2), INT),
        "b": ((1009,), INT),
        "c": ((1009, 2, 3), FLOAT),
    }
    assert set(actions["b"].tolist()) == {0, 1, 2}
    assert set(actions["a"].ravel().tolist()) == {0, 1, 2, 3, 4}
    assert -1 <= actions["c"].min() < -0.9 and 0.9 < actions["c"].max() <= 1


def test_random_actions_do_not_depend_on_the_order_of_the_spaces():
    first = random_actions(SPACES, np.random.default_rng(7), 3)
    second = random_actions(dict(reversed(SPACES.items())), np.random.default_rng(7), 3)
    assert all((first[key] == second[key]).all() for key in SPACES)


def test_zero_actions_are_zeros_of_the_same_layout():
    zeros, drawn = zero_actions(SPACES, 3), random_actions(SPACES, np.random.default_rng(0), 3)
    assert zeros.keys() == drawn.keys()
    for key, value in zeros.items():
        assert value.shape == drawn[key].shape and value.dtype == drawn[key].dtype
        assert not value.any()
