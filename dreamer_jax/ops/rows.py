"""How a function of many rows, each by itself, is evaluated.

Losses are written as functions of (parameters, rows) between reductions over all rows. Whoever
knows the devices may thus evaluate them on each device's own rows; `device/mesh.py` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dreamer_jax.types import Tree


class RowMap(Protocol):
    """Evaluates a function of rows."""

    def __call__(
        self,
        function: Callable[..., Tree],
        shared: Tree,
        *rows: Tree,
        in_axes: tuple[int, ...] | int = 0,
        out_axes: Tree = 0,
    ) -> Tree:
        """Return `function(shared, *rows)`.

        Args:
            function: Its every output row depends on `shared` and the same row of each input.
            shared: Tree that all rows read, usually parameters; gradients reach it.
            *rows: Trees of arrays.
            in_axes: Axis along which rows lie, of each tree or of all.
            out_axes: The same of the result; an axis, or a tree prefix of axes. None: the result
                is means over all rows.
        """
        ...


def all_rows(
    function: Callable[..., Tree],
    shared: Tree,
    *rows: Tree,
    in_axes: tuple[int, ...] | int = 0,  # noqa: ARG001
    out_axes: Tree = 0,  # noqa: ARG001
) -> Tree:
    """Evaluate all rows at once, on one device."""
    return function(shared, *rows)
