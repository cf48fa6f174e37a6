"""Replay: which windows exist, who gets them, and what is written back where."""

from experiments.mutate.plant import Mutant

_BUFFER, _BUFFER_TESTS = "dreamer_jax/replay/buffer.py", ("tests/replay/test_buffer.py",)
_SAMPLING, _SAMPLING_TESTS = "dreamer_jax/replay/sampling.py", ("tests/replay/test_sampling.py",)
_PERSISTENCE = "dreamer_jax/replay/persistence.py"
_PERSISTENCE_TESTS = ("tests/replay/test_persistence.py",)
_STORAGE, _STORAGE_TESTS = "dreamer_jax/replay/storage.py", ("tests/replay/test_storage.py",)

MUTANTS = (
    Mutant(
        "window_across_the_write_head",
        _SAMPLING,
        "np.maximum(self.count - self.oldest - self.length + 1, 0)",
        "np.maximum(self.count - self.oldest - self.length + 2, 0)",
        "no window crosses the write head",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "newest_window_never_drawn",
        _SAMPLING,
        "np.maximum(self.count - self.oldest - self.length + 1, 0)",
        "np.maximum(self.count - self.oldest - self.length, 0)",
        "every window can be drawn",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "window_across_streams",
        _SAMPLING,
        'stream = np.searchsorted(ends, position, side="right")',
        'stream = np.searchsorted(ends, position, side="left")',
        "a window belongs to one stream",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "queue_serves_overwritten_windows",
        _SAMPLING,
        "            if self._alive(*window):\n                served.append(window)",
        "            served.append(window)",
        "what was overwritten is served by nobody",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "queue_serves_twice",
        _SAMPLING,
        "window = self._queue.popleft()\n            if",
        "window = self._queue[len(served)]\n            if",
        "each window is served once",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "queue_serves_the_newest_first",
        _SAMPLING,
        "window = self._queue.popleft()\n            if",
        "window = self._queue.pop()\n            if",
        "windows are served in the order of completion",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "queued_windows_overlap",
        _SAMPLING,
        "self._tile[stream] = self.count[stream]",
        "self._tile[stream] += 1",
        "windows of the queue do not overlap",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "recency_prefers_the_old",
        _SAMPLING,
        "newest_first = starts[stream] - np.minimum(age, starts[stream])",
        "newest_first = np.minimum(age, starts[stream]) - 1",
        "recency prefers recent windows",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "late_latents_land_in_new_records",
        _BUFFER,
        "gone = np.clip(oldest - slots.start, 0, self.length)",
        "gone = np.clip(0 * oldest, 0, self.length)",
        "records overwritten meanwhile are left alone",
        _BUFFER_TESTS,
    ),
    Mutant(
        "first_of_two_rows_wins",
        _BUFFER,
        "for row, (stream, start, skip) in enumerate(rows):",
        "for row, (stream, start, skip) in reversed([*enumerate(rows)]):",
        "of rows that overlap the last one wins",
        _BUFFER_TESTS,
    ),
    Mutant(
        "latents_one_record_early",
        _BUFFER,
        "slots = Slots(streams, starts + self.context)",
        "slots = Slots(streams, starts)",
        "latents go back to the records that were trained",
        _BUFFER_TESTS,
    ),
    Mutant(
        "latent_of_the_first_trained_record",
        _BUFFER,
        "latents = self._latents.gather(streams, starts, 1)",
        "latents = self._latents.gather(streams, starts + 1, 1)",
        "the latent of a batch is that of the record before it",
        _BUFFER_TESTS,
    ),
    Mutant(
        "successor_from_behind_the_head",
        _BUFFER,
        "reset_follows = stored & (after < self._windows.count[streams])",
        "reset_follows = stored",
        "the slot behind the newest record is not its successor",
        _BUFFER_TESTS,
    ),
    Mutant(
        "looking_draws",
        _BUFFER,
        "rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(at,)))",
        "rng = self._windows.rng; at",
        "a look leaves no trace",
        _BUFFER_TESTS,
    ),
    Mutant(
        "batches_are_views",
        _STORAGE,
        "out[row, offsets] = column[stream, slots]",
        "out = column[stream, slots][None] if len(runs) == 1 else out\n"
        "                out[row, offsets] = column[stream, slots]",
        "a batch belongs to the caller",
        _STORAGE_TESTS,
    ),
    Mutant(
        "wrapped_run_read_twice",
        _STORAGE,
        "yield slice(0, length - head), slice(head, length)",
        "yield slice(1, length - head + 1), slice(head, length)",
        "a run goes on at slot 0 where the ring wraps",
        _STORAGE_TESTS,
    ),
    Mutant(
        "rows_that_follow_start_anew",
        "dreamer_jax/agent.py",
        "jnp.where(widen(replayed.follows, ours), ours, theirs)",
        "theirs",
        "a row that follows the batch before starts from its carry",
        ("tests/test_agent_parts.py::test_rows_that_do_not_follow_start_from_the_stored_latent",),
    ),
    Mutant(
        "context_is_trained_on",
        "dreamer_jax/agent.py",
        "batch = jax.tree.map(lambda x: x[:, 1:], records)",
        "batch = jax.tree.map(lambda x: x[:, :-1], records)",
        "the leading record only gives latent and action",
        ("tests/house/test_alignment.py",),
    ),
    Mutant(
        "resets_find_no_room",
        "dreamer_jax/runtime/assemble.py",
        "most = 2 * max(config.steps, steps) + 2 * streams",
        "most = max(config.steps, steps) + streams",
        "reset records of short episodes fit as well",
        ("tests/runtime/test_assemble.py",),
    ),
    Mutant(
        "changed_latents_not_saved",
        _BUFFER,
        "                self._ledger.change(stream, start + skip, start + self.length)\n",
        "",
        "latents that changed are written again",
        _PERSISTENCE_TESTS,
    ),
    Mutant(
        "failed_write_counts",
        _PERSISTENCE,
        "written = [self._write_block(directory, *copied) for copied in self._copied]",
        "written = []\n"
        "        for copied in self._copied:\n"
        "            written.append(self._write_block(directory, *copied))\n"
        "            self._ledger.commit([*self._kept, *written])",
        "blocks count as written once their whole snapshot is",
        _PERSISTENCE_TESTS,
    ),
    Mutant(
        "garbage_of_others_deleted",
        _PERSISTENCE,
        'named = {entry["file"] for manifest in manifests_kept for entry in manifest["blocks"]}',
        'named = {entry["file"] for manifest in [*manifests_kept][-1:] for entry in '
        'manifest["blocks"]}',
        "every kept checkpoint keeps its blocks",
        _PERSISTENCE_TESTS,
    ),
)
