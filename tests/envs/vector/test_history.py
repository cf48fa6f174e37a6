"""The history of actions by itself: whole episodes, or nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.vector.history import ActionHistory
from dreamer_jax.types import Space

SPACES = {"turn": Space(np.dtype(np.int32), (), 5), "push": Space(np.dtype(np.float32), (2,))}
NUMBER = 3


def actions(step: int) -> dict[str, np.ndarray]:
    push = np.full((NUMBER, 2), step, np.float32) + np.arange(NUMBER)[:, None]
    return {"turn": np.arange(NUMBER, dtype=np.int32) + step, "push": push}


def test_each_environment_has_its_own_actions_since_its_reset():
    history = ActionHistory(SPACES, NUMBER)
    history.add(actions(1), (0, 1, 2))
    history.begin(1)
    history.add(actions(2), (0, 1))
    assert history.stacked(0)["turn"].tolist() == [1, 2]
    assert history.stacked(1)["turn"].tolist() == [3]
    assert history.stacked(2)["push"].tolist() == [[3, 3]]


@pytest.mark.parametrize("whole", [True, False])
def test_of_an_episode_whose_first_actions_are_unknown_there_are_none(whole):
    """Replayed, the rest would be another episode, which only an observation could tell."""
    history = ActionHistory(SPACES, NUMBER)
    history.load(1, {"turn": np.array([4], np.int32), "push": np.zeros((1, 2), np.float32)}, whole)
    history.add(actions(1), (1,))
    assert history.stacked(1)["turn"].tolist() == ([4, 2] if whole else [])
    assert history.stacked(1)["push"].shape == (2 if whole else 0, 2)
    history.begin(1)
    history.add(actions(3), (1,))
    assert history.stacked(1)["turn"].tolist() == [4], "the next one is known from its reset"
