"""Pictures: right pixels, whole files, a clear word when the extra is missing."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.showing.media import (
    learning_curve,
    tile_open_loop,
    write_gif,
    write_png,
    write_video,
)

_GREEN, _RED = [44, 160, 44], [214, 39, 40]


def _frames(time: int, height: int, width: int) -> np.ndarray:
    """A bright left half whose brightness depends on the frame."""
    frames = np.zeros((time, height, width, 3), np.uint8)
    for t in range(time):
        frames[t, :, : width // 2] = 40 * t
    return frames


@pytest.mark.parametrize("size", [(32, 48), (31, 47)])
def test_video_has_the_frames_in_order(tmp_path, size):
    av = pytest.importorskip("av")
    frames = _frames(5, *size)
    write_video(tmp_path / "sub" / "v.mp4", frames, fps=20)
    with av.open(str(tmp_path / "sub" / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 20)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 5
    assert decoded[0].shape[0] % 2 == decoded[0].shape[1] % 2 == 0
    for expected, frame in zip(frames, decoded, strict=True):
        visible = frame[: size[0], : size[1]].astype(int)
        assert np.abs(visible - expected).mean() < 8
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["v.mp4"]


def test_failed_picture_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    """A full disk in the middle of a picture must not cost the one before it."""
    agg = pytest.importorskip("matplotlib.backends.backend_agg")
    (tmp_path / "curve.png").write_bytes(b"old")

    def broken(_self, path):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(agg.FigureCanvasAgg, "print_png", broken)
    with pytest.raises(OSError, match="No space"):
        learning_curve(tmp_path / "curve.png", {}, "title")
    assert (tmp_path / "curve.png").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "frames",
    [np.zeros((3, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)],
)
def test_frames_of_another_kind_are_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="not uint8"):
        write_video(tmp_path / "v.mp4", frames, fps=20)


def test_png_holds_the_picture(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_png(tmp_path / "p.png", pixels)
    with image.open(tmp_path / "p.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)
    with pytest.raises(ValueError, match="not uint8"):
        write_png(tmp_path / "p.png", pixels[..., 0])


def test_gif_has_the_frames_in_order_and_repeats():
    image = pytest.importorskip("PIL.Image")
    frames, file = np.zeros((4, 5, 7, 3), np.uint8), io.BytesIO()
    frames += np.arange(0, 160, 40, dtype=np.uint8)[:, None, None, None]
    write_gif(file, frames, fps=20)
    with image.open(file) as movie:
        assert movie.n_frames == 4 and movie.size == (7, 5)
        assert movie.info["loop"] == 0 and movie.info["duration"] == 50
        for index in range(4):
            movie.seek(index)
            assert abs(np.asarray(movie.convert("RGB")).astype(int) - frames[index]).max() <= 4


def test_open_loop_places_sequences_rows_and_frames():
    batch, time, height, width, context = 2, 5, 3, 7, 2
    rng = np.random.default_rng(0)
    truth, guess = rng.random((2, batch, time, height, width, 3))
    video = tile_open_loop(truth, guess, context)
    assert video.shape == (time, 3 * (height + 4), batch * (width + 4), 3)
    assert video.dtype == np.uint8
    for b in range(batch):
        for t in range(time):
            for row, picture in enumerate((truth, guess, (guess - truth + 1) / 2)):
                top, left = row * (height + 4), b * (width + 4)
                cell = video[t, top : top + height + 4, left : left + width + 4]
                inner = cell[2:-2, 2:-2]
                assert np.abs(inner - 255 * picture[b, t]).max() <= 0.51
                frame = np.ones((height + 4, width + 4), bool)
                frame[2:-2, 2:-2] = False
                colour = _GREEN if t < context else _RED
                assert (cell[frame] == colour).all()


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_without_colour_are_shown_grey(channels):
    truth = np.random.default_rng(0).random((1, 2, 3, 5, channels))
    video = tile_open_loop(truth, truth, 1)
    inner = video[0, 2:5, 2:7]
    assert (inner == inner[..., :1]).all()
    assert np.abs(inner[..., 0] - 255 * truth[0, 0].mean(-1)).max() <= 0.51


def test_perfect_prediction_has_a_grey_error_and_values_outside_are_clipped():
    truth = np.full((1, 1, 3, 3, 3), 2.0)
    video = tile_open_loop(truth, truth, 1)
    assert (video[0, 2:5, 2:5] == 255).all()
    assert (video[0, 16:19, 2:5] == 128).all()


def test_open_loop_refuses_different_shapes():
    with pytest.raises(ValueError, match="B, T, h, w, C"):
        tile_open_loop(np.zeros((2, 3, 5, 5, 3)), np.zeros((2, 3, 5, 5, 1)), 1)


def test_learning_curve_is_a_picture_of_the_promised_size(tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    rows = [{"policy_steps": 1_000 * i, "episode/score": float(i * i)} for i in range(30)]
    rows += [
        {"policy_steps": 5_000, "eval/score": 300.0},
        {"policy_steps": 9, "episode/score": None},
    ]
    series = {"seed 0": rows, "seed 1": rows[:1], "no episode yet": []}
    learning_curve(tmp_path / "curve.png", series, "CartPole-v1")
    learning_curve(tmp_path / "empty.png", {"": []}, "nothing yet")
    with image.open(tmp_path / "curve.png") as full, image.open(tmp_path / "empty.png") as empty:
        assert full.size == empty.size == (900, 500)
        colours = {colour for _, colour in full.convert("RGB").getcolors(1 << 20)}
    assert (31, 119, 180) in colours  # the first run's line


def test_learning_curve_says_what_is_drawn(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    seen = []
    monkeypatch.setattr(
        FigureCanvasAgg,
        "print_png",
        lambda self, path: (seen.append(self.figure), open(path, "wb").close()),
    )
    rows = [{"policy_steps": s, "episode/score": v} for s, v in ((0, 1.0), (10, None), (20, 3.0))]
    rows.append({"policy_steps": 20, "eval/score": 5.0})
    learning_curve(tmp_path / "curve.png", {"a": rows}, "CartPole-v1")
    (axes,) = seen[0].axes
    assert axes.get_title() == "CartPole-v1"
    assert "policy steps" in axes.get_xlabel() and "score" in axes.get_ylabel()
    train, evaluation = axes.get_lines()
    assert train.get_xydata().tolist() == [[0, 1], [20, 3]]
    assert evaluation.get_xydata().tolist() == [[20, 5]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "a: training episodes",
        "a: evaluation",
    ]


def test_drawing_leaves_no_global_state(tmp_path):
    """pyplot would choose a backend for a user's notebook and keep every figure alive."""
    pytest.importorskip("matplotlib")
    before = "matplotlib.pyplot" in sys.modules
    learning_curve(tmp_path / "curve.png", {"": [{"policy_steps": 1, "episode/score": 1.0}]}, "t")
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("av", lambda path: write_video(path, _frames(1, 2, 2), 20)),
        ("PIL", lambda path: write_png(path, _frames(1, 2, 2)[0])),
        ("PIL", lambda _: write_gif(io.BytesIO(), _frames(2, 2, 2), 20)),
        ("matplotlib.backends.backend_agg", lambda path: learning_curve(path, {}, "t")),
    ],
)
def test_missing_package_names_the_extra(tmp_path, monkeypatch, module, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"dreamer-jax\[media\]"):
        call(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
