"""The ring buffer against a twin of plain Python lists, under random operations."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dreamer_jax.replay import Replay, Slots
from dreamer_jax.types import Space

COLUMNS = {
    "step": Space(np.dtype(np.int64), ()),
    "vector": Space(np.dtype(np.float32), (2, 3)),
    "is_first": Space(np.dtype(bool), ()),
    "is_last": Space(np.dtype(bool), ()),
}
LATENTS = {
    "deter": Space(np.dtype(np.float32), (3,)),
    "stoch": Space(np.dtype(np.uint8), (2,)),
}


class ReplayAgainstLists(RuleBasedStateMachine):
    """The twin never forgets: a list of all records per stream, live or not."""

    @initialize(
        streams=st.integers(1, 3),
        per_stream=st.integers(0, 7),
        batch_size=st.integers(1, 3),
        length=st.integers(1, 5),
        context=st.integers(0, 1),
        online=st.booleans(),
        recency=st.sampled_from([0.0, 0.5, 1.0]),
        block_length=st.integers(1, 6),
        seed=st.integers(0, 99),
        filled=st.integers(0, 40),
    )
    def start(self, streams: int, per_stream: int, filled: int, **options: Any) -> None:
        self.span = options["length"] + options["context"]
        smallest = self.span - 1 + -(-options["batch_size"] * options["length"] // streams)
        self.per_stream = smallest + per_stream
        self.options = options | {"streams": streams, "capacity": streams * self.per_stream}
        self.replay = Replay(COLUMNS, LATENTS, **self.options)
        self.twin: list[list[dict[str, Any]]] = [[] for _ in range(streams)]
        self.tiles: list[tuple[int, int]] = []
        self.pending: list[Slots] = []
        self.snapshots: list[tuple[dict, list, list]] = []
        self.directory = tempfile.TemporaryDirectory()
        self.fresh = 0
        self.add([index % 5 == 0 for index in range(filled)])

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.cleanup()

    def oldest(self, stream: int) -> int:
        return max(0, len(self.twin[stream]) - self.per_stream)

    def number(self) -> int:
        self.fresh += 1
        return self.fresh

    @rule(resets=st.lists(st.booleans(), min_size=1, max_size=9))
    def add(self, resets: list[bool]) -> None:
        streams = range(len(self.twin))
        for reset in resets:
            records: list[dict[str, Any]] = []
            for stream in streams:
                number = self.number()
                records.append(
                    {
                        "step": stream * 10**6 + len(self.twin[stream]),
                        "vector": np.full((2, 3), number, np.float32),
                        "is_first": reset and (number + stream) % 2 == 0,
                        "is_last": False,
                        "deter": np.full(3, number, np.float32),
                        "stoch": np.full(2, number % 256, np.uint8),
                    }
                )
                self.twin[stream].append(records[-1])
                complete = len(self.twin[stream]) % self.span == 0
                if self.options["online"] and complete:
                    self.tiles.append((stream, len(self.twin[stream]) - self.span))
            stacked = {key: np.array([record[key] for record in records]) for key in records[0]}
            latents = {key: stacked.pop(key) for key in LATENTS}
            self.replay.add(stacked, latents)
            for array in (*stacked.values(), *latents.values()):
                array[...] = 0  # the replay must have copied

    def expected_row(self, stream: int, start: int) -> dict[str, list]:
        """Return one window as the batch must show it."""
        history = self.twin[stream]
        rows = [dict(record) for record in history[start : start + self.span]]
        for offset, row in enumerate(rows):
            successor = start + offset + 1
            if successor < len(history) and history[successor]["is_first"]:
                row["is_last"] = True
        if not self.options["context"]:
            rows[0]["is_first"] = True
        return {key: [row[key] for row in rows] for key in rows[0]}

    @precondition(lambda self: self.replay.can_sample)
    @rule(times=st.integers(1, 5))
    def sample(self, times: int) -> None:
        for _ in range(times):
            self.compare_batch()

    def compare_batch(self) -> None:
        batch = self.replay.sample()
        context = self.options["context"]
        for row in range(self.options["batch_size"]):
            stream = int(batch.slots.stream[row])
            start = int(batch.slots.start[row]) - context
            while self.tiles and self.tiles[0][1] < self.oldest(self.tiles[0][0]):
                self.tiles.pop(0)
            if self.tiles:
                assert (stream, start) == self.tiles.pop(0)
            assert self.oldest(stream) <= start <= len(self.twin[stream]) - self.span
            assert (np.diff(batch.data["step"][row]) == 1).all()
            expected = self.expected_row(stream, start)
            for key in COLUMNS:
                np.testing.assert_array_equal(batch.data[key][row], expected[key])
            if context:
                assert batch.latents is not None and batch.latents.keys() == LATENTS.keys()
                for key, values in batch.latents.items():
                    np.testing.assert_array_equal(values[row], expected[key][0])
        self.pending.append(batch.slots)

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def write_back(self, data: st.DataObject) -> None:
        """Late, and out of order."""
        slots = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        rows, length = self.options["batch_size"], self.options["length"]
        numbers = np.array([self.number() for _ in range(rows * length)]).reshape(rows, length, 1)
        latents = {
            "deter": np.tile(numbers, 3).astype(np.float32),
            "stoch": np.tile(numbers % 256, 2).astype(np.uint8),
        }
        dropped = 0
        for row in range(rows):
            stream = int(slots.stream[row])
            for step in range(length):
                index = int(slots.start[row]) + step
                if index < self.oldest(stream):
                    dropped += 1
                else:
                    latent = {key: value[row, step].copy() for key, value in latents.items()}
                    self.twin[stream][index] = self.twin[stream][index] | latent
        assert self.replay.write_back(slots, latents) == dropped

    @rule()
    def snapshot(self) -> None:
        manifest = self.replay.snapshot().write(self.directory.name)
        twin = [list(history) for history in self.twin]
        self.snapshots.append((manifest, twin, list(self.tiles)))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """Back to any earlier moment, in a new process as it were."""
        which = data.draw(st.integers(0, len(self.snapshots) - 1))
        manifest, twin, tiles = self.snapshots[which]
        self.replay = Replay(COLUMNS, LATENTS, **(self.options | {"seed": 1000}))
        self.replay.restore(Path(self.directory.name), manifest)
        self.twin = [list(history) for history in twin]
        self.tiles = list(tiles)
        self.pending.clear()

    @invariant()
    def live_records_are_those_of_the_twin(self) -> None:
        if not hasattr(self, "replay"):
            return
        for stream, history in enumerate(self.twin):
            live = history[self.oldest(stream) :]
            oldest, count = self.oldest(stream), len(live)
            stored = self.replay._records.read(stream, oldest, count)
            stored |= self.replay._latents.read(stream, oldest, count)
            for key, values in stored.items():
                expected = [record[key] for record in live]
                np.testing.assert_array_equal(values, np.reshape(expected, values.shape))
        lives = [len(history) - self.oldest(k) for k, history in enumerate(self.twin)]
        assert self.replay.size == sum(lives)
        assert self.replay.windows == sum(max(0, live - self.span + 1) for live in lives)


TestReplayAgainstLists = ReplayAgainstLists.TestCase
TestReplayAgainstLists.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
