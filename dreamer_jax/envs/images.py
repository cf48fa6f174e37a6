"""Pictures `[height, width, channels]` uint8, brought to another size."""

from __future__ import annotations

import numpy as np

from dreamer_jax.errors import UserError


def padded(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Centre a picture on black; `size` (height, width) is at least the picture's."""
    height, width, channels = image.shape
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    result = np.zeros((*size, channels), np.uint8)
    result[top : top + height, left : left + width] = image
    return result


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale a picture to `size` (height, width) with Pillow's antialiased bilinear filter.

    It is the filter of the published Atari runs (SPEC 10).

    Raises:
        UserError: If Pillow is not installed.
    """
    # Imported here: only those who scale need it.
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise UserError('scaling images needs Pillow: pip install "dreamer-jax[atari]"') from error

    def scale(pixels: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        # Pillow's sizes are (width, height).
        return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))

    channels = image.shape[2]
    if channels == 3:
        return np.array(scale(image))
    # Pillow has no picture of any other number of channels.
    return np.stack([scale(image[..., i]) for i in range(channels)], -1)
