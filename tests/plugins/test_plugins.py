"""Parts that the package does not know, named in configs by import path: each trains and resumes.

The plug-ins lie beside this file. Nothing in the package mentions them, which a test holds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plugged
import pytest
import trained
from plugged import PLUGGED, plugged_run
from tiny_run import make_training
from trained import StopAfter

from dreamer_jax.agent import MAIN
from dreamer_jax.device.trees import name_arrays
from dreamer_jax.replay import to_columns
from dreamer_jax.runtime.environments import make_envs
from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.training import Training

ROOT = Path(__file__).resolve().parents[2]
UPDATES = 20  # at least, of every plug-in
pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")


def store_episodes(path: Path) -> None:
    """Write episodes of random play, as the plugged source reads them."""
    config = plugged_run("behavior", {})
    rng, rows = np.random.default_rng(0), []
    with make_envs(config, 1, seed=0) as envs:
        records, episodes = envs.reset(), 0
        while episodes < 5:
            actions = {"action": rng.integers(0, 2, 1).astype(np.int32)}
            rows.append(to_columns(records, actions, envs.spaces))
            episodes += int(records["is_last"][0])
            records = envs.step(actions)
    np.savez(path, **{key: np.concatenate([row[key] for row in rows]) for key in rows[0]})


@pytest.fixture
def options(tmp_path) -> dict[str, Any]:
    """Return options that only this machine knows."""
    store_episodes(tmp_path / "episodes.npz")
    return {"env.path": str(tmp_path / "episodes.npz")}


def configured(name: str, options: dict[str, Any]) -> Any:
    return plugged_run(name, options if name == "source" else {})


def train(config: Any, root: Path, *stops: int) -> Training:
    """Train to the end, each stop followed by a new object that has only the files."""
    for stop in (*stops, config.steps):
        training = make_training(config, root)
        training.restore()
        training.run(StopAfter(training, stop))
        training.close()
    return training


@pytest.mark.parametrize("name", PLUGGED)
def test_a_plugged_run_stops_and_resumes_bit_for_bit(name, options, tmp_path):
    config = configured(name, options)
    straight = train(config, tmp_path / "straight")
    stopped = train(config, tmp_path / "stopped", 23)
    assert straight.learner.grad_steps == stopped.learner.grad_steps >= UPDATES
    ours, theirs = (trained.everything(tmp_path / run) for run in ("straight", "stopped"))
    assert ours.keys() == theirs.keys() and len(ours) > 50
    assert [key for key in ours if ours[key] != theirs[key]] == []
    total = [row["train/loss/total"] for row in trained.rows(straight) if "train/loss/total" in row]
    assert np.isfinite(total).all()


def params(training: Training) -> dict[str, np.ndarray]:
    return name_arrays(training.learner.train_state.params, "")


def moved(training: Training, fresh: Training) -> set[str]:
    """Return the entries of parameters that training has changed."""
    ours, theirs = params(training), params(fresh)
    changed = {name for name in ours if not np.array_equal(ours[name], theirs[name])}
    entries = training.learner.train_state.params
    return {entry for entry in entries if any(name.startswith(f"{entry}/") for name in changed)}


def test_the_clock_of_a_plugged_dynamics_counts_the_steps_of_each_episode(tmp_path):
    """Replay, which knows no clock, kept it: one row a record, 0 at resets, in int32."""
    training = train(plugged_run("dynamics", {}), tmp_path)
    replay = training.parts.replay
    count = int(replay.state()["count"][0])
    rings = {key: ring.columns for key, ring in replay._families.items()}
    clock, first = rings["latents"]["clock"][:, :count], rings["records"]["is_first"][:, :count]
    expected, steps = np.zeros_like(clock), np.zeros(len(clock), clock.dtype)
    for index in range(count):
        steps = np.where(first[:, index], 0, steps + 1)
        expected[:, index] = steps
    assert clock.dtype == np.int32 and clock.max() >= 10
    np.testing.assert_array_equal(clock, expected)


def test_a_second_behaviour_learns_beside_the_first(tmp_path):
    config = plugged_run("behavior", {})
    training, fresh = train(config, tmp_path / "run"), make_training(config, tmp_path / "fresh")
    state, before = training.learner.train_state, fresh.learner.train_state
    assert {"actor", "critic", "curious/actor", "curious/critic"} <= moved(training, fresh)
    assert state.aux.keys() == {MAIN, "curious"}
    for name in state.aux:
        kept, old = (name_arrays(s.aux[name]._asdict(), "") for s in (state, before))
        assert any(not np.array_equal(kept[k], old[k]) for k in kept if "slow_critic" in k)
        assert kept["stats/high"] != old["stats/high"]
    main, other = (float(state.aux[name].stats["high"]) for name in (MAIN, "curious"))
    assert main != other, "each has its own statistics, of its own reward"
    row = trained.rows(training)[-1]
    assert "train/loss/curious/critic" in row and "train/curious/imag/reward" in row
    fresh.close()


def test_two_phases_have_their_own_optimisers_and_accounts(tmp_path):
    config = plugged_run("phases", {})
    training, fresh = train(config, tmp_path / "run"), make_training(config, tmp_path / "fresh")
    state = training.learner.train_state
    counts = {
        name: int(state.opt[name][at].count) for name, at in {"model": 0, "policy": 1}.items()
    }
    assert counts["model"] + counts["policy"] == training.learner.grad_steps
    assert counts["policy"] == pytest.approx(counts["model"] / 2, abs=1.5) and counts["policy"] > 5
    assert moved(training, fresh) == set(state.params)
    assert set(training.parts.accounts.state()["owed"]) == {"model", "policy"}
    names = {key for row in trained.rows(training) for key in row}
    assert {"train/model/loss/dyn", "train/policy/loss/actor"} <= names
    assert "train/policy/loss/reward" not in names
    fresh.close()


def test_a_phase_trains_its_own_modules_only(tmp_path):
    """The policy's phase reads the world model and must leave it as it is."""
    training = make_training(plugged_run("phases", {}), tmp_path)
    training.restore()
    training.run(StopAfter(training, 90))
    before = params(training)
    training.learner.update("policy")
    after = params(training)
    changed = {
        name.partition("/")[0] for name in after if not np.array_equal(before[name], after[name])
    }
    assert changed == {"actor", "critic"}
    training.close()


def test_a_planner_keeps_its_memory_from_step_to_step_and_resets_it(tmp_path):
    training = train(plugged_run("planner", {}), tmp_path)
    driver = training.parts.source
    memory = driver._carry.memory
    age = np.asarray(memory["age"])
    steps = driver.tally.state()["length"]
    # The age counts the records acted on in this episode; the newest record was not acted on yet.
    first = driver._records["is_first"]
    np.testing.assert_array_equal(age[~first], steps[~first])
    assert np.abs(np.asarray(memory["plan"]["action"])).sum() > 0
    assert "actor" in training.learner.acting and "critic" in training.learner.acting


def test_stored_episodes_need_no_environment(options, tmp_path, monkeypatch):
    monkeypatch.setattr("dreamer_jax.runtime.environments.make_env", None)
    config = plugged_run("source", options | {"evaluation.episodes": 3})
    assert run_training(config, tmp_path / "run") == 0
    rows = trained.read_lines(tmp_path / "run" / "metrics.jsonl")
    assert rows[-1]["grad_steps"] >= UPDATES and not any("eval/score" in row for row in rows)
    assert sum(row.get("episode/count", 0) for row in rows) > 0


def test_a_logger_is_handed_rows_pictures_and_videos(tmp_path):
    training = make_training(plugged_run("logger", {}), tmp_path)
    training.restore()
    training.run(StopAfter(training, 10**9))
    training.metrics.show_picture("still", np.zeros((3, 5, 3), np.uint8), 7)
    training.close()
    tape = trained.read_lines(tmp_path / "tape.jsonl")
    rows = [entry["row"] for entry in tape if "row" in entry]
    assert rows == trained.read_lines(tmp_path / "metrics.jsonl")
    videos = [entry for entry in tape if "video" in entry]
    assert {entry["video"] for entry in videos} == {"open_loop/image"}
    assert all(len(entry["shape"]) == 4 and entry["shape"][-1] == 3 for entry in videos)
    assert {"picture": "still", "shape": [3, 5, 3], "policy_steps": 7} in tape
    assert tape[-1] == {"closed": True}


@pytest.mark.timeout(900)
def test_plugged_parts_run_on_two_devices(options, tmp_path):
    """Twenty updates of each on a mesh of two simulated devices, in a process of its own."""
    path = os.pathsep.join(filter(None, sys.path))
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    cheap = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": flags}
    env = {**os.environ, **cheap, "PYTHONPATH": path}
    command = [sys.executable, trained.__file__, str(tmp_path), options["env.path"]]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.keys() == PLUGGED.keys()
    for name, (updates, devices, losses) in told.items():
        assert updates >= UPDATES and devices == 2, name
        assert len(losses) and np.isfinite(losses).all(), name


def test_nothing_in_the_package_knows_the_plug_ins():
    names = {
        path.stem for path in Path(plugged.__file__).parents[1].joinpath("plugins").glob("*.py")
    }
    names.remove(Path(__file__).stem)
    package = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("dreamer_jax", "configs", "experiments")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert len(names) >= 9
    assert {name for name in names if name in package} == set()
