"""A disk that is full for a while, for real: the run goes on, says so, and loses nothing."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_run import make_training, tiny_run

from dreamer_jax.errors import RunFault
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.showing.metrics import JsonlOutput, Metrics, read_rows
from dreamer_jax.runtime.signals import StopRequest

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")

CARTPOLE, MIB = "gymnasium:CartPole-v1", 2**20
CONFIG = {"checkpoint.seconds": 0.0, "train_ratio": 8.0}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a file system is not permitted here: {error}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


class Ballast:
    """Fills a disk to the last byte while a run is between two policy steps."""

    def __init__(self, place: Path, first: int, last: int, patch: pytest.MonkeyPatch) -> None:
        self._file, self._span, self._step = place / "ballast", range(first, last), Driver.step
        self.kept: set[int] = set()  # newest whole checkpoint while the disk was full
        self._checkpoints = Checkpointer(place / "run" / "checkpoints", keep=2)
        patch.setattr(Driver, "step", lambda driver, params: self._watch(driver, params))

    def _watch(self, driver: Driver, params: Any) -> Any:
        if driver.policy_steps in self._span:
            self._fill()
            found = self._checkpoints.load()
            assert found is not None
            self.kept.add(found.host["counters"]["policy_steps"])
        else:
            self._file.unlink(missing_ok=True)
        return self._step(driver, params)

    def _fill(self) -> None:
        with open(self._file, "ab", buffering=0) as file:
            for size in (2**16, 2**10, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass


def test_run_outlives_a_full_disk_with_every_row_and_record(small_disk, tmp_path, patch_and_say):
    patch, said = patch_and_say
    config = tiny_run(CARTPOLE, CONFIG)
    ballast = Ballast(small_disk, 24, 45, patch)
    assert run_training(config, small_disk / "run") == 0
    out = said()
    assert out.count("No space left on device") > 5
    assert "was not saved: OSError" in out
    # A save under way when the disk filled may have been whole already.
    assert len(ballast.kept) <= 2 and 0 < min(ballast.kept) <= 24
    patch.undo()
    assert run_training(config, tmp_path / "roomy") == 0
    ours, theirs = (
        list(read_rows(r / "metrics.jsonl")) for r in (small_disk / "run", tmp_path / "roomy")
    )
    assert ours == theirs and len(ours) == 6
    loaded = [
        Checkpointer(r / "checkpoints", keep=2).load()
        for r in (small_disk / "run", tmp_path / "roomy")
    ]
    assert loaded[0].step == loaded[1].step
    assert [
        k for k, v in loaded[0].arrays.items() if v.tobytes() != loaded[1].arrays[k].tobytes()
    ] == []


@pytest.fixture
def patch_and_say(capsys):
    """Programs stay shared when a test undoes its own patches."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch, lambda: capsys.readouterr().out


def test_disk_that_stays_full_ends_with_a_clear_word_and_the_command_resumes(
    small_disk, patch_and_say
):
    patch, _ = patch_and_say
    config, root = tiny_run(CARTPOLE, CONFIG), small_disk / "run"
    Ballast(small_disk, 24, 10**9, patch)
    with pytest.raises(RunFault, match=r"last checkpoint was not saved \(.*No space.*from update "):
        run_training(config, root)
    patch.undo()
    newest = Checkpointer(root / "checkpoints", keep=2).load()
    assert newest is not None and 0 < newest.host["counters"]["policy_steps"] <= 24
    (small_disk / "ballast").unlink()
    assert run_training(config, root) == 0


def test_failed_saves_leave_no_blocks_behind(small_disk, patch_and_say):
    """They filled the disk for good: each try added some, and only a good one cleaned up."""
    patch, _ = patch_and_say
    root = small_disk / "run"
    training = make_training(tiny_run(CARTPOLE, {"train_ratio": 8.0}), root)
    training.restore()
    training.save(), training.checkpoints.wait()
    before = {path.name for path in (root / "replay").iterdir()}
    for _ in range(30):
        training.parts.source.step(training.learner.acting)
    write = Checkpointer._save

    def fail_late(*arguments: Any) -> None:
        arguments[-1]()  # the blocks
        raise OSError(28, "No space left on device")

    patch.setattr(Checkpointer, "_save", fail_late)
    training.save(), training.checkpoints.wait()
    assert {path.name for path in (root / "replay").iterdir()} == before
    patch.setattr(Checkpointer, "_save", write)
    training.save(), training.checkpoints.wait()
    assert training.checkpoints.last_error is None
    assert {path.name for path in (root / "replay").iterdir()} > before
    training.close()


def test_files_that_may_not_grow_cost_only_that_save(tmp_path):
    """As above, where no file system can be mounted."""
    training = make_training(tiny_run(CARTPOLE), tmp_path)
    training.restore()
    training.run(StopRequest())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        training.save(), training.checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert training.checkpoints.last_error is not None
    training.close()
    again = make_training(tiny_run(CARTPOLE), tmp_path)
    assert again.restore() and again.parts.source.policy_steps == training.parts.source.policy_steps
    again.close()


def test_block_that_cannot_be_read_costs_only_the_newest_checkpoint(tmp_path, capsys):
    """An input/output error or a missing permission ended the resume with a traceback.

    A folder in its place is an OSError for everybody, also for those who may read everything.
    """
    training = make_training(tiny_run(CARTPOLE), tmp_path)
    training.restore()
    states = []
    for _ in range(2):
        for _ in range(20):
            training.driver.step(training.learner.acting)
        training.learner.update()
        training.save(), training.checkpoints.wait()
        states.append((training.learner.grad_steps, training.driver.policy_steps))
    training.close()
    new, old = list(Checkpointer(tmp_path / "checkpoints", keep=1).candidates())[:2]
    kept = {block["file"] for block in old.host["replay"]["blocks"]}
    unread = min({block["file"] for block in new.host["replay"]["blocks"]} - kept)
    (tmp_path / "replay" / unread).unlink()
    (tmp_path / "replay" / unread).mkdir()
    again = make_training(tiny_run(CARTPOLE), tmp_path)
    assert again.restore()
    assert (again.learner.grad_steps, again.driver.policy_steps) == states[0]
    again.close()
    said = capsys.readouterr().out
    assert f"checkpoint {new.step} cannot be continued: replay block " in said
    assert f"{unread} cannot be read: [Errno 21] Is a directory" in said


def test_rows_that_found_no_room_come_with_the_next(tmp_path):
    path, said = tmp_path / "metrics.jsonl", []
    metrics = Metrics([JsonlOutput(path)], said.append)
    metrics.write(1, 1, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        metrics.write(2, 2, 0), metrics.write(3, 3, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(said) == 2 and said[0].startswith("metrics of step 2 could not be written: ")
    assert [row["policy_steps"] for row in read_rows(path)] == [1]  # the rest is half a line
    metrics.write(4, 4, 0)
    metrics.close()
    assert [row["policy_steps"] for row in read_rows(path)] == [1, 2, 3, 4]
