"""What training does with a directory: continue its own runs, and touch nobody else's."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tiny_run import disk, tiny_run

from dreamer_jax.commands.train import run_training
from dreamer_jax.errors import UserError
from dreamer_jax.runtime import training as training_module
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.lock import RunLock

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")

CARTPOLE = "gymnasium:CartPole-v1"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"seed": 1}, "seed: 0 → 1"),
        ({"agent.free_nats": 2.0}, "agent.free_nats: 1.0 → 2.0"),
        ({"train_ratio": 8.0, "envs": 2}, "envs: 3 → 2; train_ratio: 4.0 → 8.0"),
    ],
)
def test_another_config_in_a_directory_is_refused_by_name(tmp_path, options, text):
    run_training(tiny_run(CARTPOLE, {"steps": 6}), tmp_path)
    before = disk(tmp_path)
    with pytest.raises(UserError, match=text.replace(".", r"\.")):
        run_training(tiny_run(CARTPOLE, {"steps": 6} | options), tmp_path)
    assert disk(tmp_path) == before


def test_directory_of_a_running_run_is_refused(tmp_path):
    with RunLock(tmp_path):
        before = disk(tmp_path)
        with pytest.raises(UserError, match="in use by another run"):
            run_training(tiny_run(CARTPOLE), tmp_path)
        assert disk(tmp_path) == before


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    assert run_training(tiny_run(CARTPOLE), root) == 0
    return root


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_once, tmp_path / "trained"))


def test_from_checkpoint_does_not_undo_a_resume(trained, tmp_path):
    """A resumed run would otherwise fall back to the agent that it once started from."""
    options = {"from_checkpoint": str(trained), "steps": 40}
    assert run_training(tiny_run(CARTPOLE, options), tmp_path / "new") == 0
    trained.rename(tmp_path / "moved")
    assert run_training(tiny_run(CARTPOLE, options | {"steps": 50}), tmp_path / "new") == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": "32/8/3/2/8"}, "in the checkpoint but .* in this agent; use the configuration"),
        ({"agent.bins": 13}, "in the checkpoint but .* in this agent; use the configuration"),
        ({"from_checkpoint": "nowhere"}, "from_checkpoint=nowhere holds no whole checkpoint"),
    ],
)
def test_from_checkpoint_of_another_agent_is_refused(trained, tmp_path, options, text):
    config = tiny_run(CARTPOLE, {"from_checkpoint": str(trained)} | options)
    with pytest.raises(UserError, match=text):
        run_training(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def unlocked(files: dict[str, Any]) -> dict[str, Any]:
    """Return the files but for the lock, which names its last holder."""
    return {name: value for name, value in files.items() if name != ".lock"}


def test_damaged_checkpoints_are_an_error_and_stay(trained):
    """Starting anew removed them: a file of a newer version, perhaps, or one worth a repair."""
    for arrays in trained.glob("checkpoints/*/arrays.npz"):
        arrays.write_bytes(arrays.read_bytes()[:-1])
    before = disk(trained)
    with pytest.raises(UserError, match="is whole; move them away to start anew"):
        run_training(tiny_run(CARTPOLE), trained)
    assert unlocked(disk(trained)) == unlocked(before)


def test_damaged_replay_is_an_error(trained):
    block = next(path for path in (trained / "replay").rglob("*") if path.is_file())
    block.write_bytes(block.read_bytes()[:-1])
    before = disk(trained)
    with pytest.raises(UserError, match=r"checkpoint \d+ cannot be continued: replay block"):
        run_training(tiny_run(CARTPOLE), trained)
    assert unlocked(disk(trained)) == unlocked(before)


def test_stop_by_signal_exits_75_and_the_same_command_finishes(tmp_path, monkeypatch, capsys):
    config, step = tiny_run(CARTPOLE), Driver.step

    def stop_in_the_middle(driver: Driver, params: Any) -> Any:
        if driver.policy_steps >= 30:
            signal.raise_signal(signal.SIGTERM)
        return step(driver, params)

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "step", stop_in_the_middle)
        assert run_training(config, tmp_path) == 75
    assert f"--logdir={tmp_path} continues" in capsys.readouterr().out
    assert run_training(config, tmp_path) == 0
    assert "continuing after 3" in capsys.readouterr().out
    assert run_training(config, tmp_path / "straight") == 0
    rows, straight = (
        (tmp_path / name).read_text() for name in ("metrics.jsonl", "straight/metrics.jsonl")
    )
    assert rows == straight and rows


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"steps": 10**13, "replay.capacity": 10**13}, "GiB when full, more than 80%"),
        ({"envs": 31, "replay.capacity": 1}, "is too small: at most .* raise the capacity"),
    ],
)
def test_replay_that_cannot_be_is_refused(tmp_path, options, text):
    with pytest.raises(UserError, match=text):
        run_training(tiny_run(CARTPOLE, options), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_failed_last_save_is_a_fault(tmp_path, monkeypatch):
    """Exit code 0, or 75 for "resumable", with nothing on the disk would be a lie."""
    monkeypatch.setattr(training_module.Checkpointer, "_save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_training(tiny_run(CARTPOLE, {"steps": 6}), tmp_path)
