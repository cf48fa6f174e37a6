"""Where rows, pictures and videos of a run go: files that are always there, and what is named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.metrics import JsonlOutput, read_rows
from dreamer_jax.runtime.showing.outputs import MediaOutput, make_outputs
from dreamer_jax.runtime.showing.tensorboard import TensorBoardOutput

COUNTERS = {"env_steps": 0, "policy_steps": 0, "grad_steps": 0}
IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
FRAMES = np.zeros((3, 16, 16, 3), np.uint8)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_media_are_files_named_by_content_and_step(tmp_path):
    image, av = pytest.importorskip("PIL.Image"), pytest.importorskip("av")
    said: list[str] = []
    output = MediaOutput(tmp_path / "media", said.append)
    output.write({"env_steps": 1, "policy_steps": 1, "grad_steps": 0})
    output.close()
    assert not (tmp_path / "media").exists()  # made with the first file
    output.picture("shown/deep/camera", IMAGE, 42)
    output.video("open_loop/camera", FRAMES, 1_234_567_890)
    output.close()
    picture, video = "shown_deep_camera_000000042.png", "open_loop_camera_1234567890.mp4"
    assert names(tmp_path / "media") == sorted([picture, video]) and said == []
    with image.open(tmp_path / "media" / picture) as found:
        np.testing.assert_array_equal(np.asarray(found), IMAGE)
    with av.open(str(tmp_path / "media" / video)) as found:
        stream = found.streams.video[0]
        assert stream.average_rate == 15
        assert len(list(found.decode(stream))) == len(FRAMES)


def test_missing_packages_cost_the_pictures_and_are_said(tmp_path, monkeypatch):
    for module in ("av", "PIL"):
        monkeypatch.setitem(sys.modules, module, None)
    said: list[str] = []
    output = MediaOutput(tmp_path / "media", said.append)
    output.picture("a", IMAGE, 1)
    output.video("a", FRAMES, 1)
    assert said == [
        f"no picture: this needs {package}: pip install 'dreamer-jax[media]'"
        for package in ("Pillow", "PyAV")
    ]
    assert not (tmp_path / "media").exists() or names(tmp_path / "media") == []


def test_full_disk_costs_the_picture_and_is_said(tmp_path):
    pytest.importorskip("PIL")
    (tmp_path / "media").write_text("a file where the folder should be")
    said: list[str] = []
    MediaOutput(tmp_path / "media", said.append).picture("a", IMAGE, 1)
    assert len(said) == 1 and said[0].startswith("no picture: ")


def test_a_mistake_in_a_picture_is_not_taken_for_a_missing_package(tmp_path):
    output = MediaOutput(tmp_path / "media", lambda _: None)
    with pytest.raises(ValueError, match="not uint8"):
        output.video("a", FRAMES.astype(np.float32), 1)


OWN = """
class Mine:
    def __init__(self, rundir, counters, say):
        self.arguments = rundir, counters, say
"""


def test_outputs_are_the_files_and_those_that_are_named(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    (tmp_path / "own_output.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    rundir, said = RunDir(tmp_path / "run"), []
    always = make_outputs("", rundir, COUNTERS, said.append)
    assert [type(output) for output in always] == [JsonlOutput, MediaOutput]
    named = make_outputs(" tensorboard ,own_output:Mine, ", rundir, COUNTERS, said.append)
    kinds = [type(output).__name__ for output in named]
    assert kinds == ["JsonlOutput", "MediaOutput", "TensorBoardOutput", "Mine"]
    assert isinstance(named[2], TensorBoardOutput)
    assert named[3].arguments[:2] == (rundir, COUNTERS)
    named[3].arguments[2]("heard")
    assert said == ["heard"]
    for output in (*always, *named[:3]):
        output.close()
    assert list(rundir.root.glob("events.*")) and rundir.metrics.exists()


def test_rows_after_the_checkpoint_are_cut_off(tmp_path):
    rundir = RunDir(tmp_path)
    first = make_outputs("", rundir, COUNTERS, print)
    for step in (1, 2, 3):
        first[0].write({"env_steps": step, "policy_steps": step, "grad_steps": 0})
    again = make_outputs("", rundir, {**COUNTERS, "env_steps": 2, "policy_steps": 2}, print)
    for output in (*first, *again):
        output.close()
    assert [row["policy_steps"] for row in read_rows(rundir.metrics)] == [1, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", r"no output 'tensorbord'; did you mean 'tensorboard'\?"),
        ("nowhere:make", "output: there is no module 'nowhere'"),
    ],
)
def test_unknown_outputs_are_refused_before_anything_is_written(tmp_path, name, message):
    """The rows of a run that goes on were cut off first."""
    (tmp_path / "metrics.jsonl").write_text('{"policy_steps": 7}\n')
    for names in (name, f"tensorboard,{name}"):
        with pytest.raises(UserError, match=message):
            make_outputs(names, RunDir(tmp_path), COUNTERS, print)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert (tmp_path / "metrics.jsonl").read_text() == '{"policy_steps": 7}\n'
