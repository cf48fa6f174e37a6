"""A mask of rows meets arrays with more axes, on the host and on a device."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.masks import widen

ROWS = 3
SHAPES = [(ROWS,), (ROWS, 2), (ROWS, 5, ROWS)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("xp", [np, jnp])
def test_a_widened_mask_chooses_whole_rows(xp: object, shape: tuple[int, ...]) -> None:
    """The last axis is as long as the mask in one case: plain broadcasting would meet that one."""
    mask = xp.array([True, False, True])  # type: ignore[attr-defined]
    values = xp.arange(1, 1 + np.prod(shape)).reshape(shape)  # type: ignore[attr-defined]
    wide = widen(mask, values)
    assert type(wide) is type(mask) and wide.shape == (ROWS, *[1] * (len(shape) - 1))
    kept = xp.where(wide, values, 0)  # type: ignore[attr-defined]
    for row in range(ROWS):
        expected = values[row] if mask[row] else 0 * values[row]
        np.testing.assert_array_equal(kept[row], expected)


def test_neither_array_is_changed() -> None:
    mask, values = np.array([True, False, True]), np.ones((ROWS, 2))
    widen(mask, values)
    assert mask.shape == (ROWS,) and values.shape == (ROWS, 2)
