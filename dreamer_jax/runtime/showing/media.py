"""Pictures for people: videos, the learning curve, open-loop predictions.

PyAV, Matplotlib and Pillow are the extra `media` and are imported only when a picture is made.
Invariant: a file of that name is whole; it is written beside its place and moved there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.files import replacing

_OBSERVING = (44, 160, 44)
_IMAGINING = (214, 39, 40)
_FRAME = 2  # pixels


class MissingPackage(UserError):
    """A package of the extra `media` is not installed."""


@contextmanager
def without_pictures(say: Callable[[str], None]) -> Iterator[None]:
    """Tell that a picture could not be made, where that must not end a run."""
    try:
        yield
    except (MissingPackage, OSError) as error:  # an OSError is a full disk, most likely
        say(f"no picture: {error}")


def tile_open_loop(truth: np.ndarray, prediction: np.ndarray, context: int) -> np.ndarray:
    """Lay out a report's sequences as a video (docs/algorithm.md 9, Report).

    Rows: truth, prediction, error `(prediction − truth + 1)/2`; columns: sequences. Each picture
    has a frame, green in the first `context` steps (observing), red afterwards (imagining).
    Pictures of other than three channels are shown as the grey mean of their channels.

    Args:
        truth: `[B, T, h, w, C]` float in 0..1.
        prediction: The same shape; reconstructions first, then imagined pictures.
        context: Observed steps, at most T.

    Returns:
        `[T, 3·(h+4), B·(w+4), 3]` uint8.

    Raises:
        ValueError: If the shapes differ or are not of rank 5.
    """
    if truth.shape != prediction.shape or truth.ndim != 5:
        raise ValueError(
            f"truth {truth.shape} and prediction {prediction.shape} must both be [B, T, h, w, C]"
        )
    truth, prediction = truth.astype(np.float32), prediction.astype(np.float32)
    rows = np.stack([truth, prediction, (prediction - truth + 1) / 2], axis=2)
    if rows.shape[-1] != 3:
        rows = np.repeat(rows.mean(-1, keepdims=True), 3, axis=-1)
    batch, time, _, height, width, _ = rows.shape
    tall, wide = height + 2 * _FRAME, width + 2 * _FRAME
    canvas = np.empty((batch, time, 3, tall, wide, 3), np.uint8)
    canvas[:, :context] = _OBSERVING
    canvas[:, context:] = _IMAGINING
    canvas[..., _FRAME:-_FRAME, _FRAME:-_FRAME, :] = np.rint(255 * np.clip(rows, 0, 1))
    return canvas.transpose(1, 2, 3, 0, 4, 5).reshape(time, 3 * tall, batch * wide, 3)


def write_video(path: Path, frames: np.ndarray, fps: int) -> None:
    """Write an H.264 mp4 that browsers play; odd sizes grow by one repeated row or column.

    Args:
        path: Target, replaced when the video is whole.
        frames: `[T, h, w, 3]` uint8, T ≥ 1.
        fps: Frames per second.

    Raises:
        ValueError: If the frames have another shape or dtype.
        MissingPackage: If PyAV is not installed.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"frames are {frames.dtype}{frames.shape}, not uint8 [T ≥ 1, h, w, 3]")
    try:
        import av
    except ImportError as error:
        raise _missing("PyAV") from error
    # The chroma planes of yuv420p have half the size, so both sides must be even.
    odd = ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0))
    frames = np.pad(frames, odd, mode="edge")
    with replacing(path) as temp, av.open(str(temp), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def write_png(path: Path, image: np.ndarray) -> None:
    """Write one picture.

    Args:
        path: Target, replaced when the picture is whole.
        image: `[h, w, 3]` uint8.

    Raises:
        ValueError: If the image has another shape or dtype.
        MissingPackage: If Pillow is not installed.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"image is {image.dtype}{image.shape}, not uint8 [h, w, 3]")
    try:
        from PIL import Image
    except ImportError as error:
        raise _missing("Pillow") from error
    with replacing(path) as temp:
        Image.fromarray(image).save(temp, format="PNG")


def write_gif(file: BinaryIO, frames: np.ndarray, fps: int) -> None:
    """Write an animated picture that repeats for ever.

    Args:
        file: Open for writing bytes.
        frames: `[T, h, w, 3]` uint8, T ≥ 1.
        fps: Frames per second.

    Raises:
        MissingPackage: If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise _missing("Pillow") from error
    first, *later = (Image.fromarray(frame) for frame in frames)
    first.save(file, "GIF", save_all=True, append_images=later, duration=1000 / fps, loop=0)


def learning_curve(
    path: Path, series: Mapping[str, Iterable[Mapping[str, Any]]], title: str
) -> None:
    """Draw episode scores over policy steps, 900×500 pixels.

    Args:
        path: Target `.png`, replaced when the picture is whole.
        series: Rows of `metrics.jsonl` (see `read_rows`) by the name of their run. A line joins
            `episode/score`, points show `eval/score`; values that are null or absent are left out.
        title: Heading, such as the task.

    Raises:
        MissingPackage: If Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter
    except ImportError as error:
        raise _missing("Matplotlib") from error
    # Not pyplot: it would choose a backend and keep figures for the whole process.
    figure = Figure(figsize=(9, 5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for number, (name, rows) in enumerate(series.items()):
        rows, label, colour = list(rows), f"{name}: " if name else "", f"C{number}"
        train, evaluation = _points(rows, "episode/score"), _points(rows, "eval/score")
        if len(train[0]):
            mark = "." if len(train[0]) == 1 else ""  # a line through one point is invisible
            axes.plot(*train, color=colour, marker=mark, label=f"{label}training episodes")
        if len(evaluation[0]):
            axes.plot(*evaluation, "o", color=colour, mec="black", label=f"{label}evaluation")
    axes.set_title(title)
    axes.set_xlabel("policy steps (decisions of the agent)")
    axes.set_ylabel("episode score (sum of rewards)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    with replacing(path) as temp:
        FigureCanvasAgg(figure).print_png(str(temp))


def _points(rows: list[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    found = [(row["policy_steps"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _missing(package: str) -> MissingPackage:
    return MissingPackage(f"this needs {package}: pip install 'dreamer-jax[media]'")
