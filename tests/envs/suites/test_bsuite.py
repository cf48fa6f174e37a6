"""BSuite: every experiment keeps the contract, and its scores are the package's own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("bsuite")

from bsuite import bsuite, sweep
from bsuite.experiments.summary_analysis import BSUITE_INFO
from bsuite.utils import wrappers

from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.suites.bsuite import names
from dreamer_jax.errors import UserError
from dreamer_jax.scores.bsuite import scores, totals

EXPERIMENTS = sorted({name.split("/")[0] for name in names()})


def _play(env, seed, steps=2000):
    """Play an episode of random actions; return its records."""
    rng = np.random.default_rng(seed)
    classes = env.spaces.action["action"].classes
    records = [env.reset(seed)]
    while not records[-1]["is_last"] and len(records) < steps:
        records.append(env.step({"action": np.int32(rng.integers(classes))}))
    return records


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_keeps_the_contract(experiment):
    """Twins differ if any random state below the wrappers is left alone."""
    make = lambda: make_env(f"bsuite:{experiment}/1")
    assert check_env(make, episodes=3, max_steps=40) == []


def test_seeds_differ_and_settings_stay():
    env = make_env("bsuite:catch_noise/1")
    same = [[r["reward"] for r in _play(env, seed)] for seed in (3, 4, 3)]
    assert same[0] == same[2] != same[1]


def test_an_episode_says_by_how_much_it_moved_the_totals():
    env = make_env("bsuite:catch/0")
    for seed in range(5):
        *before, last = _play(env, seed)
        assert not any(key.startswith("log/") for record in before for key in record)
        assert last["log/total_regret"] == 1 - last["reward"]


def _rows(name, episodes, per_row):
    """Play and return metrics as a run writes them: means and numbers of a few episodes a row."""
    env, rows, held = make_env(f"bsuite:{name}"), [], []
    for seed in range(episodes):
        records = _play(env, seed)
        logs = {f"episode/{k}": float(v) for k, v in records[-1].items() if k.startswith("log/")}
        score = float(sum(record["reward"] for record in records))
        held.append({"episode/score": score, "episode/length": len(records) - 1, **logs})
        if len(held) == per_row:
            means = {key: float(np.mean([one[key] for one in held])) for key in held[0]}
            most = max(one["episode/score"] for one in held)
            rows += [{"episode/count": per_row, "episode/score/max": most, **means}, {"x": 1}]
            held = []
    return rows


class _Table:
    """Takes what the package's own recording writes."""

    def __init__(self):
        self.rows = []

    def write(self, row):
        self.rows.append(row)


@pytest.mark.parametrize("name", ["catch/0", "cartpole/0", "umbrella_length/0", "memory_len/0"])
def test_scores_are_those_of_the_suites_own_recording(name):
    """The same play through the package's recorder and through rows of metrics."""
    import pandas

    experiment, _ = name.split("/")
    table = _Table()
    recorded = bsuite.load(experiment, sweep.SETTINGS[name])
    env = make_env(f"bsuite:{name}")
    env._environment = wrappers.Logging(recorded, table)
    for seed in range(100):
        _play(env, seed)
    fixed = {"bsuite_id": name, "bsuite_env": experiment, **sweep.SETTINGS[name]}
    theirs = BSUITE_INFO[experiment].score(pandas.DataFrame([fixed | row for row in table.rows]))
    (ours,) = scores({name: totals(_rows(name, 100, per_row=5))}).items()
    assert ours == (experiment, (pytest.approx(theirs), 1, False))


def test_deep_sea_is_solved_where_chance_would_not_have_solved_it():
    """Chance takes about 2**10 and 2**12 episodes; these take 500 and 8,000."""
    early = {"episode": [0, 400, 5000], "total_bad_episodes": [0, 400, 400]}
    late = {"episode": [0, 7000, 9000], "total_bad_episodes": [0, 7000, 7000]}
    runs = {}
    for name, table in (("deep_sea/0", early), ("deep_sea/1", late)):
        columns = {key: np.array(value, float) for key, value in table.items()}
        runs[name] = columns | {"best_episode": np.zeros(3)}
    assert [sweep.SETTINGS[name]["size"] for name in runs] == [10, 12]
    assert scores(runs)["deep_sea"] == (0.5, 2, False)
    stochastic = {name.replace("sea", "sea_stochastic"): table for name, table in runs.items()}
    assert scores(stochastic)["deep_sea_stochastic"] == (0.5, 2, False)


def test_totals_are_exact_at_the_end_of_each_row():
    found = totals(_rows("catch/0", 6, per_row=3))
    env = make_env("bsuite:catch/0")
    returns = [sum(r["reward"] for r in _play(env, seed)) for seed in range(6)]
    assert found["episode"].tolist() == [0, 3, 6]
    assert found["total_return"] == pytest.approx([0, sum(returns[:3]), sum(returns)])
    assert found["best_episode"][1:].tolist() == [max(returns[:3]), max(returns)]


@pytest.mark.parametrize("name", ["mnist/0", "mnist_scale/3"])
def test_experiments_without_their_data_are_refused(name):
    with pytest.raises(UserError, match="needs the MNIST files"):
        make_env(f"bsuite:{name}")


def test_unknown_settings_are_named_with_near_ones():
    with pytest.raises(UserError, match=r"unknown bsuite setting 'catch'.*catch/"):
        make_env("bsuite:catch")


def test_metrics_without_an_episode_have_no_totals():
    with pytest.raises(UserError, match="no finished episode"):
        totals([{"policy_steps": 3}])
