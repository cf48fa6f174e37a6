"""Which runs a sweep has, and what is refused before any of them starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamer_jax.config import load_config
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.rundir import RunDir, claim
from dreamer_jax.types import Spaces
from experiments.sweep.plan import parse_vary, plan, split_values

OUT = Path("sweeps/one")
CHASE, MIXED = "testing:chase", "testing:mixed"


def test_every_task_seed_and_combination_is_run_once_seeds_innermost():
    varied = [("train_ratio", ["2", "4"]), ("agent.unimix", ["0.0", "0.1"])]
    runs = plan(OUT, "debug", [CHASE, MIXED], [3, 5], [("steps", "70")], varied)
    assert len(runs) == 2 * 2 * 2 * 2 == len({run.logdir for run in runs})
    assert [(run.task, run.seed, run.variant) for run in runs[:3]] == [
        (CHASE, 3, "train_ratio=2,agent.unimix=0.0"),
        (CHASE, 5, "train_ratio=2,agent.unimix=0.0"),
        (CHASE, 3, "train_ratio=2,agent.unimix=0.1"),
    ]
    assert {run.steps for run in runs} == {70}
    assert str(runs[0].logdir) == "sweeps/one/testing-chase/train_ratio=2+agent.unimix=0.0/seed3"


def test_a_run_is_one_command_of_train():
    (run,) = plan(OUT, "debug", [CHASE], [3], [("size", "16/8/3/2/8")])
    assert run.arguments == (
        *("-m", "dreamer_jax", "train", "--config=debug", "--config.task=testing:chase"),
        *("--config.seed=3", "--config.size=16/8/3/2/8", "--logdir=sweeps/one/testing-chase/seed3"),
    )


@pytest.mark.parametrize(
    ("fixed", "varied", "message"),
    [
        ([("stepz", "1")], [], "unknown config key 'stepz'; did you mean steps"),
        ([("steps", "many")], [], "many"),
        ([], [("batch_length", ["8", "1"])], "config.batch_length=1; it must be at least 2"),
        ([], [("size", ["12m", "13m"])], "no size '13m'"),
        ([("seed", "2")], [], "--config.seed contradicts"),
        ([("envs", "2")], [("envs", ["3"])], "--config.envs contradicts"),
        ([], [("envs", ["3", "3"])], "would hold two runs"),
    ],
)
def test_what_train_would_refuse_is_refused_for_the_whole_sweep(fixed, varied, message):
    with pytest.raises(UserError, match=message):
        plan(OUT, "debug", [CHASE], [0], fixed, varied)


def test_a_sweep_continues_only_under_its_own_options(tmp_path):
    config = load_config("debug")
    config.task, config.seed = CHASE, 1
    (run,) = plan(tmp_path, "debug", [CHASE], [1])
    run.logdir.mkdir(parents=True)
    claim(RunDir(run.logdir), config.to_dict(), Spaces({}, {}))
    plan(tmp_path, "debug", [CHASE], [1], [("steps", "900")])  # may be extended
    with pytest.raises(UserError, match=r"train_ratio: 4.0 → 8.0"):
        plan(tmp_path, "debug", [CHASE], [1], [("train_ratio", "8")])


def test_values_are_split_at_commas_outside_of_brackets():
    assert split_values("1, 2,(3,4),[5,6],x") == ["1", "2", "(3,4)", "[5,6]", "x"]
    assert parse_vary(["config.size=1m,12m", "env.size=(32,32)"]) == [
        ("size", ["1m", "12m"]),
        ("env.size", ["(32,32)"]),
    ]


@pytest.mark.parametrize("texts", [["size"], ["size="], ["=3"], ["a=1", "a=2"], ["seed=1,2"]])
def test_a_vary_that_says_nothing_or_says_it_twice_is_refused(texts):
    with pytest.raises(UserError, match="--vary="):
        parse_vary(texts)
