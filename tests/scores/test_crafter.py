"""The Crafter score: hand-computed numbers, and rates from rows of metrics."""

from __future__ import annotations

import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.scores.crafter import achievement_rates, crafter_score


def test_the_score_is_a_geometric_mean_of_one_plus_percent():
    assert crafter_score([0, 0, 0]) == 0
    assert crafter_score([100] * 22) == pytest.approx(100)
    # sqrt((1 + 8) · (1 + 3)) − 1
    assert crafter_score([8, 3]) == pytest.approx(5)
    # Half of the achievements always: far below 50, which is the point of the score.
    assert crafter_score([100] * 11 + [0] * 11) == pytest.approx(101**0.5 - 1)


def test_rates_weigh_rows_by_their_episodes():
    rows = [
        {"episode/count": 3, "episode/log/achievement_eat_cow": 1 / 3, "episode/score": 1.0},
        {"policy_steps": 7},
        {"episode/count": 1, "episode/log/achievement_eat_cow": 1.0},
    ]
    assert achievement_rates(rows) == {"eat_cow": pytest.approx(50)}


def test_rows_without_episodes_have_no_rates():
    with pytest.raises(UserError, match="no finished episode"):
        achievement_rates([{"policy_steps": 7}, {"episode/count": 2, "episode/score": 1.0}])
