"""What training does with a directory: continue its own runs, and touch nobody else's."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict
from tiny_run import disk, tiny_run

import dreamer_jax
from dreamer_jax.__main__ import run
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.checkpoint_files import write_manifest
from dreamer_jax.runtime.saving.lock import RunLock

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
    with pytest.raises(
        UserError, match=r"is whole; to start anew, move them and metrics\.jsonl away"
    ):
        run_training(tiny_run(CARTPOLE), trained)
    assert unlocked(disk(trained)) == unlocked(before)


def test_damaged_replay_is_an_error(trained):
    block = next(path for path in (trained / "replay").rglob("*") if path.is_file())
    block.write_bytes(block.read_bytes()[:-1])
    before = disk(trained)
    with pytest.raises(UserError, match=r"checkpoint \d+ cannot be continued: replay block"):
        run_training(tiny_run(CARTPOLE), trained)
    assert unlocked(disk(trained)) == unlocked(before)


def _truncate_arrays(root: Path) -> str:
    arrays = max((root / "checkpoints").iterdir()) / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    return "skipped checkpoint "


def _damage_its_own_block(root: Path) -> str:
    older, newest = sorted((root / "checkpoints").iterdir())
    named = [
        {
            each["file"]
            for each in json.loads((folder / "host.json").read_text())["replay"]["blocks"]
        }
        for folder in (older, newest)
    ]
    (root / "replay" / min(named[1] - named[0])).write_bytes(b"")
    return f"checkpoint {int(newest.name)} cannot be continued: "


def _foreign(root: Path) -> str:
    """A folder with right checksums that another program might have written."""
    newest = max((root / "checkpoints").iterdir())
    (newest / "host.json").write_text('{"replay": {"__array__": "999"}}')
    write_manifest(newest)
    return "it cannot be read (KeyError"


@pytest.mark.parametrize("damage", [_truncate_arrays, _damage_its_own_block, _foreign])
def test_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, damage, capsys):
    config = {"checkpoint.seconds": 0.0, "train_ratio": 8.0}
    assert run_training(tiny_run(CARTPOLE, config), tmp_path / "run") == 0
    text = damage(tmp_path / "run")
    capsys.readouterr()
    longer = tiny_run(CARTPOLE, config | {"steps": 75})
    assert run_training(longer, tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert text in out, out
    assert "continuing after 5" in out
    assert run_training(longer, tmp_path / "straight") == 0
    rows, straight = (
        (tmp_path / name / "metrics.jsonl").read_text() for name in ("run", "straight")
    )
    assert rows == straight and rows


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
        (
            {"envs": 31, "replay.capacity": 1},
            "do not fit into a replay of 64; .* raise the capacity",
        ),
    ],
)
def test_replay_that_cannot_be_is_refused(tmp_path, options, text):
    with pytest.raises(UserError, match=text):
        run_training(tiny_run(CARTPOLE, options), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_failed_last_save_is_a_fault(tmp_path, monkeypatch):
    """Exit code 0, or 75 for "resumable", with nothing on the disk would be a lie."""
    monkeypatch.setattr(Checkpointer, "_save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_training(tiny_run(CARTPOLE, {"steps": 6}), tmp_path)


def _keep_folder(root: Path) -> None:
    for path in (root / "checkpoints").iterdir():
        shutil.rmtree(path)


@pytest.mark.parametrize(
    "move_away",
    [
        _keep_folder,
        lambda root: shutil.rmtree(root / "checkpoints"),
        lambda root: [shutil.rmtree(root / name) for name in ("checkpoints", "replay")],
    ],
    ids=["content", "folder", "replay too"],
)
def test_metrics_of_a_run_whose_checkpoints_are_gone_are_not_emptied(trained, move_away):
    """The next start was a new run, which cut all rows of the old one off."""
    move_away(trained)
    before = disk(trained)
    text = (
        r"holds the metrics of a run whose checkpoints are gone; put them back into \S*checkpoints"
        r", or, to start anew, choose another --logdir or move metrics\.jsonl away"
    )
    with pytest.raises(UserError, match=text):
        run_training(tiny_run(CARTPOLE), trained)
    assert disk(trained) == before and (trained / "metrics.jsonl").stat().st_size
    (trained / "metrics.jsonl").rename(trained / "old.jsonl")
    assert run_training(tiny_run(CARTPOLE), trained) == 0


@pytest.mark.parametrize("saving", [False, True])
def test_run_that_was_killed_before_its_first_checkpoint_starts_anew(trained, saving):
    """A queue that starts it again must not find it refused; `saving` was under way."""
    rows = (trained / "metrics.jsonl").read_text()
    _keep_folder(trained)
    if saving:
        (trained / "checkpoints" / ".tmp-000000000011-7").mkdir()
    else:
        shutil.rmtree(trained / "replay")
    assert run_training(tiny_run(CARTPOLE), trained) == 0
    assert (trained / "metrics.jsonl").read_text() == rows


def test_runs_in_other_threads_go_on_side_by_side(tmp_path, trained):
    """Signals can be caught by the main thread alone: `ValueError` ended every other run."""
    codes: dict[int, int] = {}

    def work(index: int) -> None:
        codes[index] = run_training(tiny_run(CARTPOLE), tmp_path / f"run{index}")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {0: 0, 1: 0}
    for index in range(2):
        rows = (tmp_path / f"run{index}" / "metrics.jsonl").read_text()
        assert rows == (trained / "metrics.jsonl").read_text()


def test_config_that_is_no_config_is_refused(tmp_path):
    """From Python any object comes in: a traceback out of whatever read the option first."""
    for config in (ConfigDict(), ConfigDict({"size": "12m"})):
        with pytest.raises(UserError, match="the config lacks task and"):
            run_training(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


TUPLES = """
from dreamer_jax.envs.testing.mixed import Mixed

def make(size, levels, repeat=1):
    if not (isinstance(size, tuple) and isinstance(levels, tuple) and levels == (3, (5, "a"))):
        raise TypeError(f"size={size!r}, levels={levels!r}")
    return Mixed(size=size[0])
"""


def test_tuples_of_options_are_tuples_for_whoever_loads_the_run(tmp_path, monkeypatch, capsys):
    """JSON turned them into lists, so that constructors got other options than in training."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "takes_tuples.py").write_text(TUPLES)
    monkeypatch.syspath_prepend(tmp_path / "code")
    config = tiny_run("takes_tuples:make", {"steps": 45, "evaluation.episodes": 1})
    with config.unlocked():
        config.env.update({"size": (48, 48), "levels": [3, [5, "a"]], "repeat": 1})
    root = tmp_path / "run"
    assert run_training(config, root) == 0
    assert json.loads((root / "config.json").read_text())["env"]["size"] == [48, 48]
    config.steps = 50
    assert run_training(config, root) == 0  # goes on with the same options
    assert "continuing after 4" in capsys.readouterr().out
    assert dreamer_jax.load(root).config.env.levels == (3, (5, "a"))
    assert run(["evaluate", f"--logdir={root}", "--episodes=1", "--trust"]) == 0
    assert "1 episode" in capsys.readouterr().out
    assert "takes_tuples" in sys.modules
