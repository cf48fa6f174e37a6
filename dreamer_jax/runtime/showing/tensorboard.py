"""TensorBoard events of a run: scalars, pictures, and videos as animated pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.showing.media import MissingPackage, without_pictures, write_gif
from dreamer_jax.runtime.showing.output import Row

FPS = 15  # of videos


class TensorBoardOutput:
    """TensorBoard events over policy steps; values that are not finite are left out.

    Args:
        logdir: Directory of the event files.
        resume_at: As for `JsonlOutput`; TensorBoard then hides what a crash had already written.
        say: Told where a package for pictures is missing.

    Raises:
        UserError: If tensorboardX is not installed.
    """

    def __init__(
        self,
        logdir: Path,
        resume_at: Mapping[str, int] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UserError(
                "TensorBoard output needs tensorboardX: pip install 'dreamer-jax[log]'"
            ) from error
        purge_step = resume_at["policy_steps"] + 1 if resume_at else None
        self._writer, self._say = SummaryWriter(str(logdir), purge_step=purge_step), say

    def write(self, row: Row) -> None:
        """Add every scalar at `row["policy_steps"]`."""
        for name, value in row.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, int(row["policy_steps"]))

    def picture(self, name: str, image: np.ndarray, policy_steps: int) -> None:
        """Add a picture `[h, w, 3]` uint8."""
        with without_pictures(self._say):
            try:
                self._writer.add_image(name, image, policy_steps, dataformats="HWC")
            except ImportError as error:
                text = "this needs Pillow: pip install 'dreamer-jax[media]'"
                raise MissingPackage(text) from error

    def video(self, name: str, frames: np.ndarray, policy_steps: int) -> None:
        """Add a video `[T, h, w, 3]` uint8 as an animated GIF, which TensorBoard plays."""
        from tensorboardX.proto.summary_pb2 import Summary

        with without_pictures(self._say):
            file = io.BytesIO()
            write_gif(file, frames, FPS)
            height, width = frames.shape[1:3]
            picture: Any = Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=file.getvalue()
            )
            summary = Summary(value=[Summary.Value(tag=name, image=picture)])
            self._writer.file_writer.add_summary(summary, policy_steps)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()
