"""Skipped updates: never in replay, counted, the first written down, a run of them the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_run import disk, make_training, tiny_arguments, tiny_run

from dreamer_jax.__main__ import main
from dreamer_jax.device.compiled import compile_agent, name_arrays
from dreamer_jax.envs.testing import suite
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.errors import RunFault
from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.diagnosis import Diagnosis, Skip, summary
from dreamer_jax.runtime.training import Training

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")

COUNTING, PHASE = "testing:counting", "joint"


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    """A run with enough records to train on."""
    training = make_training(tiny_run(COUNTING), tmp_path)
    while not training.parts.replay.can_sample:
        training.parts.source.step(training.learner.acting)
    yield training
    training.close()


def poison(training: Training, key: str, value: float) -> np.ndarray:
    """Overwrite a column of the stored records; return what it held."""
    column = training.parts.replay._records.columns[key]
    before = column.copy()
    column[...] = value
    return before


def latents(training: Training) -> list[bytes]:
    return [column.tobytes() for column in training.parts.replay._latents.columns.values()]


def test_skipped_update_is_counted_and_stays_out_of_replay(training):
    learner = training.learner
    before = poison(training, "obs/seed", np.nan)
    state, stored = name_arrays(learner.train_state, ""), latents(training)
    assert learner.update(PHASE) == {}
    assert learner.update(PHASE) == {"opt/skipped": 1.0} == learner.finish()
    assert (learner.skipped, learner.grad_steps) == (2, 2)
    assert latents(training) == stored
    after = name_arrays(learner.train_state, "")
    changed = [key for key in state if not np.array_equal(state[key], after[key])]
    assert changed == ["grad_steps"]
    training.parts.replay._records.columns["obs/seed"][...] = before
    learner.update(PHASE)
    metrics = learner.finish()
    assert metrics["opt/skipped"] == 0 and np.isfinite(list(metrics.values())).all()
    assert latents(training) != stored and learner.skipped == 2


def test_first_skip_leaves_what_is_needed_to_repeat_it(training, tmp_path):
    learner, said = training.learner, []
    learner._on_skip = Diagnosis(tmp_path / "diagnosis", 0, said.append)
    learner.update(PHASE)
    poison(training, "obs/seed", np.nan)
    poison(training, "reward", 3e38)
    for _ in range(4):
        learner.update(PHASE)
    found = sorted(path.name for path in (tmp_path / "diagnosis").iterdir())
    assert found == ["skipped_000000000001.npz", "skipped_000000000001.txt"]
    text = (tmp_path / "diagnosis" / found[1]).read_text()
    assert "not finite: losses " in text and "recon/seed" in text and "gradients " in text
    assert "batch/records/obs/seed is not finite in 36 of 36 values" in text
    assert "batch/records/reward 3e+38" in text
    assert len(said) == 2 and said[0].startswith("update 1 skipped: not finite: losses ")
    with np.load(tmp_path / "diagnosis" / found[0]) as arrays:
        parts = {name.split("/")[0] for name in arrays.files}
        assert parts == {"state", "carry", "batch", "dtypes.json"}
        assert np.isnan(arrays["batch/records/obs/seed"]).all()
        assert arrays["state/grad_steps"] == 2  # the count alone has moved
        kernel = "params/actor/mlp/layer0/dense/kernel"
        np.testing.assert_array_equal(
            arrays[f"state/{kernel}"], name_arrays(learner.train_state, "")[kernel]
        )


def test_run_of_skips_ends_the_training_and_single_ones_do_not(training, tmp_path):
    training.learner._on_skip = Diagnosis(tmp_path / "diagnosis", 3, print)
    for _ in range(3):
        before = poison(training, "obs/seed", np.nan)
        training.learner.update(PHASE), training.learner.update(PHASE)
        training.parts.replay._records.columns["obs/seed"][...] = before
        training.learner.update(PHASE), training.learner.update(PHASE)
    assert training.learner.skipped == 6
    poison(training, "obs/seed", np.nan)
    for _ in range(3):
        training.learner.update(PHASE)
    with pytest.raises(
        RunFault, match=r"3 updates in a row .*losses .*recon/seed.*obs/seed is not"
    ):
        training.learner.finish()


def test_count_of_skips_is_resumed(training):
    """A scheduler that restarts a run every few updates must not hide a run of skips."""
    poison(training, "obs/seed", np.nan)
    for _ in range(3):
        training.learner.update(PHASE)
    arrays, host = training.learner.state()
    training.learner.load_state(arrays, host)
    seen: list[Skip] = []
    training.learner._on_skip = seen.append
    training.learner.update(PHASE)
    assert (seen[0].grad_steps, seen[0].total, seen[0].in_a_row) == (2, 3, 3)
    # The batch in flight was not saved; what can be known still is.
    assert {name.split("/")[0] for name in seen[0].inputs()} == {"state", "carry"}


def damage(root: Path) -> int:
    """Put an infinity into the newest checkpoint; return its step."""
    checkpoints = Checkpointer(root / "checkpoints", keep=2)
    arrays, host, step, _ = checkpoints.load()
    arrays["state/params/decoder/mlp/layer0/dense/kernel"][0, 0] = np.inf
    replay = host.pop("replay")
    checkpoints.save(step, arrays, host, lambda: replay)
    checkpoints.wait()
    return step


def test_damaged_parameters_stop_a_run_with_exit_code_1(tmp_path, monkeypatch, capsys):
    """The whole way: the same command, the compiled step, one line of words, checkpoints whole."""
    assert run_training(tiny_run(COUNTING), tmp_path) == 0
    step = damage(tmp_path)
    before = disk(tmp_path / "checkpoints")
    arguments = tiny_arguments(COUNTING, tmp_path, steps=600, stop_after_skips=5)
    monkeypatch.setattr(sys, "argv", ["dreamer-jax", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    assert stopped.value.code == 1 and err.count("\n") == 1
    assert err.startswith("error: 5 updates in a row were not finite (not finite: losses ")
    assert "state/params/decoder/mlp/layer0/dense/kernel is not finite in 1 of" in err
    assert f"its state and batch: {tmp_path}/diagnosis/skipped_" in out
    assert disk(tmp_path / "checkpoints") == before
    assert Checkpointer(tmp_path / "checkpoints", keep=2).load().step == step


class Absurd:
    """Wraps an environment whose numbers are finite and far out of any range."""

    def __init__(self, env: Any) -> None:
        self._env, self.spaces, self.repeat = env, env.spaces, env.repeat
        self.close, self.render = env.close, env.render

    def reset(self, seed: int) -> Any:
        return self._absurd(self._env.reset(seed))

    def step(self, action: Any) -> Any:
        return self._absurd(self._env.step(action))

    def _absurd(self, record: Any) -> Any:
        sign = np.float32(-1.0 if record["index"] % 2 else 1.0)
        record["seed"] = sign * np.array([3.4e38, 1e-45], np.float32)
        record["reward"] = np.float32(0.0 if record["is_first"] else sign * 3.4e38)
        return record


def test_absurd_but_finite_numbers_of_an_environment_are_learned_from(tmp_path, monkeypatch):
    """Symlog and two-hot take all that float32 can hold, so that nothing is skipped."""
    monkeypatch.setitem(suite._TASKS, "counting", lambda: Absurd(Counting()))
    training = make_training(tiny_run(COUNTING, {"train_ratio": 8.0}), tmp_path)
    rows: list[dict[str, float]] = []
    update = training.learner.update
    kept = lambda phase: rows.append(update(phase)) or rows[-1]
    monkeypatch.setattr(training.learner, "update", kept)
    while len(rows) < 9:
        training.parts.source.step(training.learner.acting)
        if training.parts.replay.can_sample:
            training.learner.update(PHASE)
    training.close()
    assert training.learner.skipped == 0 and rows[-1]["opt/skipped"] == 0
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(training.learner.train_state.params))


def test_full_disk_under_the_diagnosis_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    said: list[str] = []
    skip = Skip(7, 1, 1, {"loss/total": np.nan}, lambda: {"state/x": np.zeros(3)})
    Diagnosis(tmp_path / "file", 0, said.append)(skip)
    assert said[0] == "update 7 skipped: not finite: losses total"
    assert said[1].startswith("could not write ")


def test_overflow_of_the_norm_alone_is_named():
    metrics = {"loss/total": 1.0, "opt/grad_norm/actor": 1e20, "opt/grad_norm": np.inf}
    assert summary(metrics) == "not finite: the norm of all gradients together"


@pytest.mark.slow
def test_debug_nans_raises_where_the_nan_is_made(tmp_path, monkeypatch):
    """The guard would only skip the update; this is for finding out which operation it was."""
    assert run_training(tiny_run(COUNTING), tmp_path) == 0
    damage(tmp_path)
    # As in a process of its own: what was traced before donates what the search needs.
    monkeypatch.setattr("dreamer_jax.runtime.assemble.compile_agent", compile_agent)
    config = tiny_run(COUNTING, {"steps": 600, "debug_nans": True})
    with pytest.raises(FloatingPointError, match=r"invalid value \(nan\) encountered in \w+"):
        run_training(config, tmp_path)
    assert not jax.config.jax_debug_nans
