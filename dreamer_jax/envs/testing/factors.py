"""`testing:factors`: five objects whose colours cause each other along a known graph.

The chemical world of Ke et al. 2021 (arXiv:2107.00848) as used by CDL (Wang et al. 2022,
arXiv:2206.13452): an action paints one object, and random networks decide how colours follow from
the colours of an object's parents.

Deviation: there, a change runs through all descendants within the step, each child reading the new
colours of its parents. In a chain no colour at t + 1 then depends on another colour at t, once the
action is known, and no model of single steps could show the edges. Here a change travels one edge
a step: every object but the painted one follows from its parents at t. So the edges are exactly
the dependencies of x[t + 1] on x[t].
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

OBJECTS, COLORS = 5, 5
_INT = np.dtype(np.int32)
GRAPHS = {  # parents of each object
    "chain": ((), (0,), (1,), (2,), (3,)),
    "fork": ((), (0,), (0,), (0,), (0,)),
    "collider": ((), (), (), (), (0, 1, 2, 3)),
    "full": ((), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)),
}
SPLITS = ("train", "decorrelated", "corrupted")
# Nats that every parent tells about its child beyond the other parents, all colours alike likely.
# Five times the threshold above which CDL's test sees an edge.
LEAST_INFORMATION = 0.1


class Factors:
    """Paint objects. Pays 1 for every record in which the last object has colour 0.

    An object without parents keeps its colour, the others draw theirs from `tables` every step,
    the painted one takes the colour of the action. Episodes are truncated.

    Args:
        graph: "chain" 0→1→2→3→4, "fork" 0→{1, 2, 3, 4}, "collider" {0, 1, 2, 3}→4, or "full", in
            which every object has all lower ones as parents.
        world_seed: Determines the networks.
        split: What records are drawn from. "train": an episode starts in colours that follow from
            each other along the graph. "decorrelated": it starts in independent uniform colours.
            "corrupted": as "train", but the last object, which is nobody's parent, is seen in
            random colours; its true ones still pay.
        joint: Whether the action is one key `action` of 25 classes, object · 5 + colour, instead of
            the two keys `object` and `color`.
        length: Index of the last record.

    Attributes:
        edges: `[5, 5]` bool, `[child, parent]`; the diagonal is set where an object keeps its
            colour.
        tables: For every object the probabilities `[*[5] per parent, 5]` of its next colour.
    """

    repeat = 1

    def __init__(
        self,
        graph: str = "chain",
        world_seed: int = 0,
        split: str = "train",
        joint: bool = True,
        length: int = 16,
    ) -> None:
        if graph not in GRAPHS:
            raise UserError(f"graph is {graph!r}; choose one of {', '.join(GRAPHS)}")
        if split not in SPLITS:
            raise UserError(f"split is {split!r}; choose one of {', '.join(SPLITS)}")
        self._parents, self._split = GRAPHS[graph], split
        self._joint, self._length = joint, length
        rng = np.random.default_rng(world_seed)
        self.tables = [draw_table(len(parents), rng) for parents in self._parents]
        self.edges = np.zeros((OBJECTS, OBJECTS), bool)
        for child, parents in enumerate(self._parents):
            self.edges[child, list(parents) or child] = True
        self._colors, self._index = np.zeros(OBJECTS, np.int32), 0
        self._rng = np.random.default_rng(0)
        actions = {"object": Space(_INT, (), OBJECTS), "color": Space(_INT, (), COLORS)}
        if joint:
            actions = {"action": Space(_INT, (), OBJECTS * COLORS)}
        self.spaces = Spaces({"colors": Space(_INT, (OBJECTS,), COLORS)}, actions)

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        self._rng = np.random.default_rng(seed)
        self._index = 0
        self._colors = self._rng.integers(COLORS, size=OBJECTS, dtype=np.int32)
        if self._split != "decorrelated":
            for child, parents in enumerate(self._parents):
                if parents:
                    self._colors[child] = self._drawn(child, self._colors)
        return self._record(signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Paint one object; all others follow."""
        self._index += 1
        if self._joint:
            painted, color = divmod(int(action["action"]), COLORS)
        else:
            painted, color = int(action["object"]), int(action["color"])
        before = self._colors.copy()
        for child, parents in enumerate(self._parents):
            if parents:
                self._colors[child] = self._drawn(child, before)
        self._colors[painted] = color
        paid = float(self._colors[-1] == 0)
        return self._record(signals(paid, is_last=self._index == self._length))

    def render(self) -> np.ndarray | None:
        """Return None: there is nothing to see."""
        return None

    def close(self) -> None:
        """Do nothing."""

    def _drawn(self, child: int, colors: np.ndarray) -> int:
        """Draw a colour of `child` from the colours of its parents."""
        probs = self.tables[child][tuple(colors[list(self._parents[child])])]
        # Rounding may leave the last sum below the number drawn.
        return min(int(np.searchsorted(probs.cumsum(), self._rng.random())), COLORS - 1)

    def _record(self, record: dict[str, Any]) -> Record:
        seen = self._colors.copy()
        if self._split == "corrupted":
            seen[-1] = self._rng.integers(COLORS)
        return record | {"colors": seen}


def draw_table(parents: int, rng: np.random.Generator) -> np.ndarray:
    """Draw networks until one lets every parent matter; return its probabilities.

    Returns:
        `[5] · parents + [5]`: next colours by the colours of the parents. Without parents, uniform.
    """
    if not parents:
        return np.full(COLORS, 1 / COLORS)
    while True:
        table = _network(parents, rng)
        if min(information(table)) >= LEAST_INFORMATION:
            return table


def information(table: np.ndarray) -> list[float]:
    """Return what each parent tells about the child beyond the others, in nats.

    With uniform colours of the parents this is

        I(x'; xᵢ | the others) = E[H(mean over xᵢ of P)] − E[H(P)]
    """
    return [
        float(_entropy(table.mean(i)).mean() - _entropy(table).mean())
        for i in range(table.ndim - 1)
    ]


def _entropy(probs: np.ndarray) -> np.ndarray:
    return -(probs * np.log(np.maximum(probs, 1e-30))).sum(-1)


def _network(parents: int, rng: np.random.Generator) -> np.ndarray:
    """Return the outputs of a random network of one hidden layer for all colours of the parents."""
    rows = np.array(list(itertools.product(range(COLORS), repeat=parents)))
    inputs = np.eye(COLORS)[rows].reshape(len(rows), -1)
    hidden = np.maximum(inputs @ rng.normal(0, 1.5, (inputs.shape[1], 4 * OBJECTS)), 0)
    logits = hidden @ rng.normal(0, 1.5, (hidden.shape[1], COLORS))
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    return probs.reshape(*[COLORS] * parents, COLORS)
