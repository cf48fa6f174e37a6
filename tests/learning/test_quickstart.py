"""The first thing that people run keeps its promise: CartPole-v1, balanced nearly to the end."""

from __future__ import annotations

import pytest

from dreamer_jax.config import load_config
from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.showing.metrics import read_rows


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_quickstart_balances_the_pole(tmp_path):
    assert run_training(load_config("quickstart"), tmp_path) == 0
    scores = [
        row["eval/score"] for row in read_rows(tmp_path / "metrics.jsonl") if "eval/score" in row
    ]
    assert len(scores) == 1 and scores[0] >= 475
