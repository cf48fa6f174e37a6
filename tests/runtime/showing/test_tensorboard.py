"""TensorBoard gets scalars, pictures and videos, at their steps."""

from __future__ import annotations

import io
import math
import sys

import numpy as np
import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.showing.tensorboard import TensorBoardOutput


def _row(step, **values):
    return {"env_steps": 2 * step, "policy_steps": step, "grad_steps": step // 2, **values}


def _read_events(path):
    """Parse the record framing: length, its checksum, data, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, at = path.read_bytes(), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        yield Event.FromString(data[at + 12 : at + 12 + size])
        at += 16 + size


def _values(logdir):
    """Return (step, value) by tag."""
    (events,) = logdir.glob("events.*")
    return {v.tag: (e.step, v) for e in _read_events(events) for v in e.summary.value}


def test_tensorboard_gets_finite_scalars_over_policy_steps(tmp_path):
    reader = pytest.importorskip("tensorboardX.event_file_writer")
    output = TensorBoardOutput(tmp_path, {"policy_steps": 3, "grad_steps": 1})
    output.write(_row(5, **{"train/loss": 0.5, "train/bad": math.nan}))
    output.close()
    assert reader is not None
    (events,) = tmp_path.glob("events.*")
    starts = [e.step for e in _read_events(events) if e.HasField("session_log")]
    found = {tag: (step, value.simple_value) for tag, (step, value) in _values(tmp_path).items()}
    assert starts == [4]
    assert found["train/loss"] == (5, 0.5)
    assert "train/bad" not in found


def test_tensorboard_gets_pictures(tmp_path):
    pytest.importorskip("tensorboardX")
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    output = TensorBoardOutput(tmp_path)
    output.picture("shown/camera", pixels, 11)
    output.close()
    step, value = _values(tmp_path)["shown/camera"]
    with image.open(io.BytesIO(value.image.encoded_image_string)) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), pixels)
    assert step == 11 and (value.image.height, value.image.width) == (5, 7)


def test_tensorboard_gets_videos_that_move(tmp_path):
    pytest.importorskip("tensorboardX")
    image = pytest.importorskip("PIL.Image")
    frames = np.zeros((3, 5, 7, 3), np.uint8)
    frames[1], frames[2] = 100, 200
    output = TensorBoardOutput(tmp_path)
    output.video("open_loop/camera", frames, 13)
    output.close()
    step, value = _values(tmp_path)["open_loop/camera"]
    assert step == 13 and (value.image.height, value.image.width) == (5, 7)
    with image.open(io.BytesIO(value.image.encoded_image_string)) as movie:
        assert movie.format == "GIF" and movie.n_frames == 3
        for index in range(3):
            movie.seek(index)
            shown = np.asarray(movie.convert("RGB")).astype(int)
            assert shown.shape == (5, 7, 3) and abs(shown - frames[index]).max() <= 4


def test_missing_tensorboardx_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match=r"dreamer-jax\[log\]"):
        TensorBoardOutput(tmp_path)


def test_missing_pillow_costs_the_video_and_is_said(tmp_path, monkeypatch):
    """A run with reports must not die at the first one, hours in."""
    pytest.importorskip("tensorboardX")
    said: list[str] = []
    output = TensorBoardOutput(tmp_path, None, said.append)
    monkeypatch.setitem(sys.modules, "PIL", None)
    output.video("a", np.zeros((3, 5, 7, 3), np.uint8), 1)
    output.picture("a", np.zeros((5, 7, 3), np.uint8), 1)
    output.close()
    text = "no picture: this needs Pillow: pip install 'dreamer-jax[media]'"
    assert said == [text, text]
