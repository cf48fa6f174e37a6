"""How a function of very many imagined states is evaluated: where, and how many at once.

The one object that knows both devices (`rows.py`) and slices (`slices.py`), so that behaviours
write a function of some states and never say how these are cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax

from dreamer_jax.ops.rows import RowMap, all_rows
from dreamer_jax.ops.slices import in_slices, mean_at_once, mean_in_slices
from dreamer_jax.types import Tree


@dataclass(frozen=True)
class Spread:
    """Evaluates functions of `(params, *trees)` that treat every state by itself."""

    by_rows: RowMap = all_rows  # how starts and sequences are spread over devices
    slice_rows: int = 0  # imagined states that a function sees at once; 0: all

    def each(self, function: Callable[..., Tree], params: Tree, *trees: Tree) -> Tree:
        """Return the function of every state: trees `[H, N, ...]` to a tree `[H, N, ...]`."""

        def evaluate(params: Tree, *trees: Tree) -> Tree:
            lead = jax.tree.leaves(trees)[0].shape[:2]
            out = in_slices(partial(function, params), self.slice_rows, *merge_leading(trees))
            return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), out)

        return self.by_rows(evaluate, params, *trees, in_axes=1, out_axes=1)

    def mean(
        self, function: Callable[..., Tree], params: Tree, *trees: Tree, attached: bool = False
    ) -> Tree:
        """Return the means over all states of a loss and of what comes with it.

        Args:
            function: Maps `params` and trees `[n, ...]` to a loss `[n]` and a tree of `[n, ...]`.
            params: Receive gradients, from the loss alone.
            *trees: Of `[H, N, ...]`.
            attached: Whether `trees` receive gradients too. They then are evaluated at once.
        """
        average = mean_at_once if attached else partial(mean_in_slices, most=self.slice_rows)

        def means(params: Tree, *trees: Tree) -> Tree:
            return average(function, params, *merge_leading(trees))

        return self.by_rows(means, params, *trees, in_axes=1, out_axes=None)


def merge_leading(tree: Tree) -> Tree:
    """Merge the two leading axes of every leaf."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
