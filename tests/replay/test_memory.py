"""Foretold size and the refusal of too much."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.replay import Replay, check_memory, replay_bytes
from dreamer_jax.replay.memory import GIB, present_memory

from .conftest import COLUMNS, LATENTS


def test_foretold_bytes_are_the_allocated_bytes(make_replay: Callable[..., Replay]) -> None:
    replay = make_replay(capacity=71, streams=3)
    per_record = (8 + 6 + 1 + 1) + (5 * 2 + 3)
    assert replay_bytes(COLUMNS, LATENTS, capacity=71, streams=3) == 69 * per_record
    assert replay.nbytes == 69 * per_record


def test_more_than_80_percent_is_refused_with_the_remedy() -> None:
    check_memory(int(7.9 * GIB), 10 * GIB)
    with pytest.raises(UserError, match=r"8\.1 GiB .* 10\.0 GiB .*--config\.replay\.capacity="):
        check_memory(int(8.1 * GIB), 10 * GIB)


def test_memory_of_a_container_counts(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    machine = present_memory(limit)
    limit.write_text("max\n")
    assert present_memory(limit) == machine > 0
    limit.write_text("12345\n")
    assert present_memory(limit) == 12345
