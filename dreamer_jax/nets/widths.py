"""Widths of every network of an agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

NETWORKS = ("encoder", "decoder", "reward", "cont", "actor", "critic")


class Widths(NamedTuple):
    """Widths of every network; a row of the size table gives all networks the same units."""

    deter: int
    hidden: int
    classes: int
    encoder_depth: int
    decoder_depth: int
    units: Mapping[str, int]  # by name in NETWORKS

    @classmethod
    def from_size(cls, size: Any) -> Widths:
        """Return the widths of a row (deter, hidden, classes, depth, units)."""
        units = dict.fromkeys(NETWORKS, size.units)
        return cls(size.deter, size.hidden, size.classes, size.depth, size.depth, units)
