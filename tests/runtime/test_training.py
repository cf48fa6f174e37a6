"""A run as a whole: the same seed gives the same run, however often it was stopped on the way."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny_run import make_training, tiny_run
from trained import StopAfter, leaves

from dreamer_jax.device.compiled import name_arrays
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.training import Training

pytestmark = pytest.mark.usefixtures("cheap_compile")
quick = pytest.mark.usefixtures("shared_programs")

CARTPOLE, MIXED = "gymnasium:CartPole-v1", "testing:mixed"


class Outcome(NamedTuple):
    """Everything that a run has come to."""

    arrays: dict[str, np.ndarray]
    host: dict[str, Any]
    batches: list[Any]
    rows: list[dict[str, Any]]


def records(training: Training) -> dict[str, np.ndarray]:
    """Return every live record and latent; none has been overwritten yet."""
    replay = training.parts.replay
    count = replay.state()["count"]
    assert replay.state()["oldest"] == [0] * len(count)
    return {
        f"{stream}/{key}": column[stream, : count[stream]]
        for ring in (replay._records, replay._latents)
        for key, column in ring.columns.items()
        for stream in range(len(count))
    }


def outcome(training: Training) -> Outcome:
    parts = training.parts
    arrays, learner = training.learner.state()
    arrays |= {f"replay/{key}": value for key, value in records(training).items()}
    carry, source = parts.source.state()
    host = {"learner": learner, "source": source, "accounts": parts.accounts.state()}
    host |= {"metrics": training.metrics.state_dict(), "replay": parts.replay.state()}
    batches = [parts.replay.sample() for _ in range(5)]
    lines = parts.rundir.metrics.read_text().splitlines()
    return Outcome({**arrays, **carry}, host, batches, [json.loads(line) for line in lines])


def run(config: Any, root: Path, *stops: int) -> Outcome:
    """Train to the end, each stop followed by a new object that has only the files."""
    for stop in (*stops, math.inf):
        training = make_training(config, root)
        assert training.restore() == (stop != (*stops, math.inf)[0])
        done = training.run(StopAfter(training, stop))
        assert done == (stop == math.inf)
        if done:
            result = outcome(training)
        training.close()
    return result


def assert_equal(one: Outcome, two: Outcome) -> None:
    for part in Outcome._fields:
        ours, theirs = leaves(getattr(one, part)), leaves(getattr(two, part))
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if ours[key] != theirs[key]] == []


def check_resume(task: str, root: Path, *stops: int, **options: Any) -> Outcome:
    """Bit for bit: parameters, optimiser, carries, replay, generators, environments, metrics."""
    config = tiny_run(task, {"steps": 100, "train_ratio": 5.0} | options)
    straight = run(config, root / "straight")
    assert_equal(straight, run(config, root / "resumed", *stops))
    assert "pending" in straight.host["learner"] and len(straight.rows) >= 9
    assert straight.host["learner"]["grad_steps"] >= 15
    assert any("train/loss/total" in row for row in straight.rows)
    assert [row["policy_steps"] // 10 for row in straight.rows] == list(range(1, 11))
    return straight


def test_stopped_and_resumed_equals_uninterrupted(tmp_path):
    """Each part traces and compiles anew, as a new process does; stops fall before and between."""
    straight = check_resume(CARTPOLE, tmp_path, 25, 61)
    assert any("episode/score" in row for row in straight.rows)
    # No simulator state is there to be saved: open episodes come back by their actions.
    assert straight.host["source"]["envs"]["environments"][0]["snapshot"] is None


@quick
def test_every_kind_of_key_is_resumed(tmp_path):
    check_resume(MIXED, tmp_path, 40)


@quick
def test_a_run_whose_environments_fail_counts_them_also_when_resumed(tmp_path):
    config = tiny_run("testing:flaky", {"steps": 90, "batch_length": 64})  # too few for an update
    rows = []
    for name, stops in (("straight", (90,)), ("resumed", (50, 90))):
        for stop in stops:
            training = make_training(config, tmp_path / name)
            training.restore()
            training.run(StopAfter(training, stop))
            training.close()
        lines = training.parts.rundir.metrics.read_text().splitlines()
        rows.append([json.loads(line) for line in lines])
    assert rows[0] == rows[1]
    counts = [row["envs/restarts"] for row in rows[0]]
    assert counts == sorted(counts) and 0 < counts[0] < counts[-1]


@quick
@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "needs"), [("dmc:cartpole_balance", "dm_control"), ("atari:pong", "ale_py")]
)
def test_simulators_that_can_be_saved_are_resumed_in_the_middle_of_episodes(tmp_path, task, needs):
    pytest.importorskip(needs)
    straight = check_resume(task, tmp_path, 40)
    for environment in straight.host["source"]["envs"]["environments"]:
        assert isinstance(environment["snapshot"], bytes) and not environment["ended"]


@quick
def test_environments_on_the_device_are_resumed(tmp_path):
    check_resume("device:chase", tmp_path, 25, 61, device_steps=3)


@quick
def test_environments_on_the_device_train_as_those_of_the_host(tmp_path):
    """One vector step a call: the order of a run is the same, so the run is."""
    options = {"steps": 100, "train_ratio": 5.0}
    one, two = (
        run(tiny_run("device:chase", {**options, "device_steps": steps}), tmp_path / str(steps))
        for steps in (0, 1)
    )
    for ours, theirs in zip(one.batches, two.batches, strict=True):
        assert ours.data.keys() == theirs.data.keys()
        assert all(ours.data[key].tobytes() == theirs.data[key].tobytes() for key in ours.data)
        assert ours.latents.keys() == theirs.latents.keys()
        for key, value in ours.latents.items():
            other = theirs.latents[key].astype(np.float32)
            np.testing.assert_allclose(value.astype(np.float32), other, atol=1e-5, err_msg=key)
    assert len(one.rows) == len(two.rows) >= 9
    for ours, theirs in zip(one.rows, two.rows, strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-3, atol=1e-4)


@quick
def test_row_of_a_stopped_interval_is_not_split(tmp_path):
    """Metrics collected before the stop were lost from the first row after the resume."""
    config = tiny_run(CARTPOLE, {"steps": 60, "log.every": 55, "train_ratio": 16.0})
    straight, resumed = run(config, tmp_path / "a"), run(config, tmp_path / "b", 50)
    assert straight.rows == resumed.rows and len(straight.rows) == 2  # one at 55, and the end
    assert straight.rows[0]["episode/count"] > 0 and straight.rows[0]["grad_steps"] > 5


@quick
def test_another_seed_gives_another_run(tmp_path):
    make = lambda seed: tiny_run(CARTPOLE, {"seed": seed})
    one, two = run(make(0), tmp_path / "0"), run(make(1), tmp_path / "1")
    kernels = [k for k in one.arrays if k.startswith("state/params/") and k.endswith("kernel")]
    same = [k for k in kernels if np.array_equal(one.arrays[k], two.arrays[k])]
    silent = [k for k in same if not one.arrays[k].any()]  # outputs that start at zero
    assert same == silent and len(kernels) > 10
    assert one.rows != two.rows


@quick
def test_environments_and_replay_have_the_seed_of_the_run(tmp_path):
    """Seeds that reached the agent alone gave runs that shared their episodes."""
    seen = []
    for number, seed in enumerate((0, 1, 1)):
        training = make_training(tiny_run(CARTPOLE, {"seed": seed}), tmp_path / str(number))
        parts = training.parts
        reset, rng = parts.origin.envs.reset(), parts.replay.state()["rng"]
        seen.append((leaves(reset), leaves(rng)))
        training.close()
    assert seen[0][0] != seen[1][0] and seen[0][1] != seen[1][1]
    assert seen[1] == seen[2]


@quick
@pytest.mark.parametrize("keep", [1, 3])
def test_history_of_checkpoints_is_kept(tmp_path, keep):
    """Saving with every step changes nothing either."""
    options = {"steps": 60, "train_ratio": 8.0}
    often = {**options, "checkpoint.seconds": 0.0, "checkpoint.keep": keep}
    often = run(tiny_run(CARTPOLE, often), tmp_path / "often")
    rarely = run(tiny_run(CARTPOLE, options), tmp_path / "rarely")
    names = sorted(path.name for path in (tmp_path / "often" / "checkpoints").iterdir())
    last = often.host["learner"]["grad_steps"]
    assert len(names) == keep and int(names[-1]) == last > 5
    assert_equal(often, rarely)


@quick
def test_more_steps_continue_a_finished_run(tmp_path):
    short, long = (tiny_run(CARTPOLE, {"steps": steps}) for steps in (30, 60))
    assert run_training(short, tmp_path) == 0
    training = make_training(long, tmp_path)
    assert training.restore() and 30 <= training.parts.source.policy_steps < 60
    training.close()
    assert run_training(long, tmp_path) == 0
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 60


@quick
def test_from_checkpoint_starts_from_another_agent(tmp_path):
    trained = tmp_path / "trained"
    run(tiny_run(CARTPOLE), trained)
    config = tiny_run(CARTPOLE, {"from_checkpoint": str(trained), "seed": 1})
    training, other = make_training(config, tmp_path / "new"), make_training(config, trained)
    other.restore()
    theirs, ours = (name_arrays(t.learner.train_state, "") for t in (other, training))
    assert leaves(ours) == leaves(theirs) and int(ours["grad_steps"]) > 2
    acting = name_arrays(training.parts.compiled.acting(training.learner.train_state), "")
    assert leaves(name_arrays(training.learner.acting, "")) == leaves(acting)
    assert training.learner.grad_steps == training.parts.source.policy_steps == 0
    assert not training.restore() and training.run(StopAfter(training, 100))
    training.close(), other.close()


@quick
def test_environments_are_closed_when_the_agent_cannot_be_built(tmp_path, monkeypatch):
    """Their workers outlived the error."""
    closed, close = [], VectorEnv.close
    monkeypatch.setattr(VectorEnv, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(UserError, match="bins=10"):
        make_training(tiny_run(CARTPOLE, {"agent.bins": 10}), tmp_path)
    assert len(closed) == 1


@quick
def test_who_reports_trains_on_the_same_batches(tmp_path):
    """A report took its batch from the queue and the generator of training."""
    options = {"steps": 60, "train_ratio": 8.0}
    often, never = (
        run(tiny_run(MIXED, {**options, "log.report_every": every}), tmp_path / str(every))
        for every in (10, 0)
    )
    reported = lambda row: {key for key in row if key.startswith("report/")}
    assert any(reported(row) for row in often.rows) and not any(map(reported, never.rows))
    rows = [{k: v for k, v in row.items() if k not in reported(row)} for row in often.rows]
    assert_equal(often._replace(rows=rows), never)


class StopAtUpdate:
    """Requests a stop once a training has done so many updates."""

    def __init__(self, training: Training, grad_steps: int) -> None:
        self._learner, self._grad_steps = training.learner, grad_steps

    @property
    def requested(self) -> bool:
        return self._learner.grad_steps >= self._grad_steps


@quick
def test_a_stop_is_heard_within_a_burst_of_updates_and_the_rest_is_made_up_for(tmp_path):
    """With a high train ratio one vector step owes updates for minutes, which a stop waited for."""
    config = tiny_run(CARTPOLE, {"steps": 45, "train_ratio": 160.0, "log.every": 2})
    straight = run(config, tmp_path / "straight")
    training = make_training(config, tmp_path / "resumed")
    training.restore()
    assert not training.run(StopAtUpdate(training, 5))
    assert training.learner.grad_steps == 5
    assert max(training.parts.accounts.state()["owed"].values()) >= 1.0
    training.close()
    # The row of the step waits for the rest of its updates.
    newest = json.loads(training.parts.rundir.metrics.read_text().splitlines()[-1])
    assert newest["policy_steps"] < training.parts.source.policy_steps
    training = make_training(config, tmp_path / "resumed")
    assert training.restore() and training.run(StopAfter(training, math.inf))
    assert_equal(straight, outcome(training))
    training.close()


@quick
def test_a_run_that_is_stopped_in_its_last_updates_is_not_finished(tmp_path):
    """It was evaluated, and left at exit code 0, with updates still owed."""
    config = tiny_run(CARTPOLE, {"steps": 45, "train_ratio": 160.0})
    straight = run(config, tmp_path / "straight")
    last = straight.host["learner"]["grad_steps"]
    training = make_training(config, tmp_path / "resumed")
    training.restore()
    assert not training.run(StopAtUpdate(training, last - 2))
    assert training.parts.source.policy_steps >= 45
    training.close()
    training = make_training(config, tmp_path / "resumed")
    assert training.restore() and training.run(StopAfter(training, math.inf))
    assert_equal(straight, outcome(training))
    training.close()
