"""Scaling of pictures, compared with Pillow's."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.adapters.images import resized


def _by_pillow(image, size):
    """Narrow the rows, then the columns: Pillow takes another order for some shapes since 13."""
    library = pytest.importorskip("PIL.Image")
    scale = lambda pixels, height, width: np.asarray(
        library.fromarray(pixels).resize((width, height), library.Resampling.BILINEAR)
    )
    planes = [
        scale(scale(image[..., i], image.shape[0], size[1]), *size) for i in range(image.shape[2])
    ]
    return np.stack(planes, -1)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((210, 160, 1), (96, 96)),  # Atari, both protocols
        ((210, 160, 3), (64, 64)),
        ((250, 160, 3), (96, 96)),  # its tall games
        ((7, 11, 3), (29, 31)),
        ((31, 29, 1), (1, 29)),
        ((1, 1, 3), (5, 3)),
    ],
)
@pytest.mark.parametrize("values", ["any", "extreme"])
def test_scaling_equals_pillows_to_the_last_bit(shape, size, values):
    rng = np.random.default_rng(0)
    image = rng.choice(np.array([0, 255] if values == "extreme" else range(256), np.uint8), shape)
    small = resized(image, size)
    assert small.dtype == np.uint8 and small.shape == (*size, shape[2])
    np.testing.assert_array_equal(small, _by_pillow(image, size))


@pytest.mark.slow
def test_scaling_equals_pillows_for_a_thousand_shapes():
    rng = np.random.default_rng(1)
    for _ in range(1000):
        *shape, height, width = rng.integers(1, 140, 4).tolist()
        image = rng.integers(0, 256, (*shape, 1), np.uint8)
        expected = _by_pillow(image, (height, width))
        np.testing.assert_array_equal(resized(image, (height, width)), expected)


def test_scaling_takes_any_number_of_channels_and_any_strides():
    image = np.zeros((20, 30, 5), np.uint8)
    image[..., 3] = 200
    small = resized(image, (10, 15))
    assert small.shape == (10, 15, 5)
    assert (small[..., 3] == 200).all() and not small[..., 4].any()
    turned = np.random.default_rng(2).integers(0, 256, (13, 17, 3), np.uint8).transpose(1, 0, 2)
    np.testing.assert_array_equal(resized(turned, (5, 7)), resized(turned.copy(), (5, 7)))


def test_the_result_belongs_to_the_caller():
    small = resized(np.ones((8, 8, 3), np.uint8), (8, 8))
    small += 1
    assert (small == 2).all()
