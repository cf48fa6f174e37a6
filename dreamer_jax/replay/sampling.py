"""Index arithmetic of windows: which exist, and which are drawn (docs/algorithm.md 9).

A window is `length` consecutive records of one stream, named by the absolute index of its first
record. Windows lie between `oldest` and `count`, so no window crosses the write head, and no window
holds a record that was never written. The rows of a batch come first from the online queue, where
every non-overlapping window waits once, in order of completion. All other rows are drawn: uniformly
over all starts of all streams, or, for a fraction `recency` of them, log-uniformly in age.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np


class Windows:
    """The windows of one replay: their counters, online queue and random numbers.

    Args:
        streams: Number of streams.
        capacity: Records per stream.
        length: Records per window, context included.
        online: Whether complete windows enter the queue.
        recency: Fraction of the drawn rows that prefer recent starts. Among the n starts of its
            stream, such a row takes the a-th newest with probability
            log((a + 1)/a) / log(n + 1): each doubling of age is equally likely.
        rng: The only source of randomness.
    """

    def __init__(
        self,
        streams: int,
        capacity: int,
        length: int,
        *,
        online: bool,
        recency: float,
        rng: np.random.Generator,
    ) -> None:
        self.capacity = capacity
        self.length = length
        self.online = online
        self.recency = recency
        self.rng = rng
        self.count = np.zeros(streams, np.int64)  # [E] absolute index of the next record
        self._first = np.zeros(streams, np.int64)  # [E] index of the first record ever stored
        self._tile = np.zeros(streams, np.int64)  # [E] start of the window being completed
        self._queue: deque[tuple[int, int]] = deque()  # (stream, start)

    @property
    def oldest(self) -> np.ndarray:
        """Absolute index `[E]` of the oldest live record of each stream."""
        return np.maximum(self._first, self.count - self.capacity)

    @property
    def starts(self) -> np.ndarray:
        """Number `[E]` of windows of each stream."""
        return np.maximum(self.count - self.oldest - self.length + 1, 0)

    def advance(self) -> None:
        """Count one more record in every stream; queue the windows that these records complete."""
        self.count += 1
        if not self.online:
            self._tile += 1
            return
        for stream in np.flatnonzero(self.count - self._tile == self.length).tolist():
            self._queue.append((stream, int(self._tile[stream])))
            self._tile[stream] = self.count[stream]
        # Overwritten windows leave the queue here while nothing is sampled, so that it stays short.
        while self._queue and not self._alive(*self._queue[0]):
            self._queue.popleft()

    def draw(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return stream `[rows]` and start `[rows]` of windows, queued windows first."""
        queued = np.array(self._serve(rows), np.int64).reshape(-1, 2)
        streams, starts = self.draw_unqueued(rows - len(queued), self.rng)
        return np.append(queued[:, 0], streams), np.append(queued[:, 1], starts)

    def _alive(self, stream: int, start: int) -> bool:
        return start >= self.count[stream] - self.capacity and start >= self._first[stream]

    def _serve(self, rows: int) -> list[tuple[int, int]]:
        served: list[tuple[int, int]] = []
        while self._queue and len(served) < rows:
            window = self._queue.popleft()
            if self._alive(*window):
                served.append(window)
        return served

    def draw_unqueued(self, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return stream `[rows]` and start `[rows]` of windows drawn without the queue."""
        starts, ends = self.starts, np.cumsum(self.starts)
        position = rng.integers(ends[-1], size=rows)
        stream = np.searchsorted(ends, position, side="right")
        position -= ends[stream] - starts[stream]
        if self.recency:
            recent = rng.random(rows) < self.recency
            age = np.exp(rng.random(rows) * np.log(starts[stream] + 1)).astype(np.int64)
            # Through rounding, exp may reach n + 1.
            newest_first = starts[stream] - np.minimum(age, starts[stream])
            position = np.where(recent, newest_first, position)
        return stream, self.oldest[stream] + position

    def state(self) -> dict[str, Any]:
        """Return counters, queue and random state as values that JSON can hold."""
        return {
            "length": self.length,
            "count": self.count.tolist(),
            "oldest": self.oldest.tolist(),
            "tile": self._tile.tolist(),
            "queue": [list(window) for window in self._queue],
            "rng": self.rng.bit_generator.state,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a `state` of equally many streams.

        Queued windows of another length are dropped, and so is a queue that this replay does not
        use. The queue then begins anew with the next record.
        """
        if len(state["count"]) != len(self.count):
            raise ValueError(
                f"the state is of {len(state['count'])} streams, this replay has {len(self.count)}"
            )
        self.count[:] = state["count"]
        self._first[:] = state["oldest"]
        self._tile[:] = self.count
        self._queue.clear()
        if self.online and state["length"] == self.length:
            self._tile[:] = state["tile"]
            self._queue.extend((stream, start) for stream, start in state["queue"])
        self.rng.bit_generator.state = state["rng"]


class Move(NamedTuple):
    """The place to which a stream of a saved replay moves."""

    stream: int  # the new stream
    shift: int  # added to the absolute indices of the records


def redeal(state: dict[str, Any], streams: int) -> tuple[dict[str, Any], list[Move]]:
    """Deal the streams of a `Windows.state` to another number of streams.

    Streams are dealt whole and in order: old stream k goes to new stream k mod `streams`. With
    fewer streams than before, a new stream holds several old ones, one after the other. With more
    streams, the last new ones start empty. Indices are counted anew from 0. With equally many
    streams nothing changes.

    Returns:
        The state of the new streams, and one move for each old stream.
    """
    if streams == len(state["count"]):
        return state, [Move(stream, 0) for stream in range(streams)]
    count, tile, moves = [0] * streams, [0] * streams, []
    for old, oldest in enumerate(state["oldest"]):
        move = Move(old % streams, count[old % streams] - oldest)
        count[move.stream] = state["count"][old] + move.shift
        tile[move.stream] = state["tile"][old] + move.shift
        moves.append(move)
    queue = [
        [moves[old].stream, start + moves[old].shift]
        for old, start in state["queue"]
        if start >= state["oldest"][old]
    ]
    dealt = {"count": count, "oldest": [0] * streams, "tile": tile, "queue": queue}
    return state | dealt, moves
