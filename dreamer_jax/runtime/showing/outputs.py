"""Where metrics, pictures and videos of a run go; every place is an `Output`.

`metrics.jsonl` and the folder `media/` are always there. Others are named by `config.log.outputs`,
separated by commas: keys of `OUTPUTS`, or import paths of functions with the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.named import find_named
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.media import without_pictures, write_png, write_video
from dreamer_jax.runtime.showing.metrics import JsonlOutput
from dreamer_jax.runtime.showing.output import Output, Row
from dreamer_jax.runtime.showing.tensorboard import TensorBoardOutput

FPS = 15  # of videos


class MediaOutput:
    """Pictures and videos as files of the folder `media/`, named by content and step.

    Args:
        folder: Made with the first file.
        say: Told where a package for pictures is missing.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say

    def write(self, row: Row) -> None:
        """Leave rows to the others."""

    def picture(self, name: str, image: np.ndarray, policy_steps: int) -> None:
        """Write a PNG file."""
        with without_pictures(self._say):
            write_png(self._path(name, policy_steps, "png"), image)

    def video(self, name: str, frames: np.ndarray, policy_steps: int) -> None:
        """Write an mp4 file."""
        with without_pictures(self._say):
            write_video(self._path(name, policy_steps, "mp4"), frames, FPS)

    def close(self) -> None:
        """Do nothing: every file is whole."""

    def _path(self, name: str, policy_steps: int, ending: str) -> Path:
        return self._folder / f"{name.replace('/', '_')}_{policy_steps:09d}.{ending}"


def make_tensorboard(
    rundir: RunDir, counters: Mapping[str, int], say: Callable[[str], None]
) -> TensorBoardOutput:
    """Return TensorBoard events in the run directory."""
    return TensorBoardOutput(rundir.root, counters, say)


OUTPUTS: dict[str, Any] = {"tensorboard": make_tensorboard}


def make_outputs(
    names: str, rundir: RunDir, counters: Mapping[str, int], say: Callable[[str], None]
) -> list[Output]:
    """Return all outputs of a run.

    Args:
        names: `config.log.outputs`.
        rundir: Of the run.
        counters: Of the checkpoint that the run goes on from; later rows are to be forgotten.
        say: Receives one-line messages.

    Raises:
        UserError: For an unknown name, or a package that is not installed.
    """
    # These first: a name that is refused must not have cut rows off the file.
    makers = [
        find_named("output", name, OUTPUTS)
        for name in filter(None, (part.strip() for part in names.split(",")))
    ]
    named: list[Output] = [make(rundir, counters, say) for make in makers]
    return [JsonlOutput(rundir.metrics, counters), MediaOutput(rundir.media, say), *named]
