"""A trace holds the updates that were asked for, and no run leaves one open."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tiny_run import make_training, tiny_run

from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.showing import tracing
from dreamer_jax.runtime.signals import StopRequest

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")

CHASE = "testing:chase"
TRACED = {"log.trace_first": 2, "log.trace_updates": 3, "train_ratio": 16.0}


def programs(root: Path) -> list[str]:
    """Return the names of the compiled programs whose calls are in a trace, two for each call."""
    (file,) = root.glob("trace/plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    return [e["name"] for e in events if e.get("name", "").startswith("PjitFunction(")]


def test_traces_the_updates_asked_for_and_says_where(tmp_path, capsys):
    assert run_training(tiny_run(CHASE, TRACED), tmp_path) == 0
    assert programs(tmp_path).count("PjitFunction(_update)") == 2 * 3
    assert f"profiler trace: {tmp_path}/trace" in capsys.readouterr().out


def test_window_that_the_run_does_not_reach_the_end_of_is_closed(tmp_path):
    """A second trace in one process is refused by JAX while the first is open."""
    training = make_training(tiny_run(CHASE, TRACED | {"log.trace_updates": 999}), tmp_path)
    training.restore()
    training.run(StopRequest())
    training.close()
    assert len(programs(tmp_path)) > 10
    tracing.start_trace(tmp_path / "another")
    tracing.stop_trace(None)


def test_nothing_is_traced_unless_asked_for(tmp_path):
    assert run_training(tiny_run(CHASE), tmp_path) == 0
    assert not (tmp_path / "trace").exists()
