"""The learner's fixed order, its lag of one update, and the account of updates due."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from dreamer_jax.runtime.experience import make_replay
from tiny_run import tiny_run

from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import Compiled, compile_agent, name_arrays, to_host
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.replay import Replay, Slots
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.learner import Learner, Ratio

pytestmark = pytest.mark.usefixtures("cheap_compile")

TASK = "testing:counting"
CONFIG = tiny_run(TASK)
B, T = CONFIG.batch_size, CONFIG.batch_length


@pytest.fixture(scope="module")
def compiled(cheap_compile: None) -> Compiled:  # noqa: ARG001
    return compile_agent(CONFIG, find_size(CONFIG.size), make_env(TASK).spaces)


def fill(compiled: Compiled, replay: Replay, steps: int) -> None:
    make = partial(make_env, TASK)
    with VectorEnv(make, CONFIG.envs, seed=7, workers="inline") as envs:
        driver = Driver(envs, compiled, replay.add)
        params = compiled.acting(compiled.init())
        for _ in range(steps):
            driver.step(params)


@pytest.fixture
def replay(compiled: Compiled) -> Replay:
    replay = make_replay(CONFIG, compiled.agent.spaces, compiled)
    fill(compiled, replay, 25)
    return replay


@pytest.fixture
def learner(compiled: Compiled, replay: Replay) -> Learner:
    return Learner(compiled, replay)


class Tape:
    """Watches what a learner asks of replay and device, in order."""

    def __init__(self, learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.sampled: list[Slots] = []
        self.written: list[tuple[Slots, np.ndarray, np.ndarray]] = []
        self.acting: list[Any] = []  # parameters after each update
        self.metrics: list[np.ndarray] = []
        self.latents: list[Any] = []
        self._learner = learner
        for owner, name in (
            (learner._replay, "sample"),
            (learner._replay, "write_back"),
            (learner._compiled, "train"),
        ):
            monkeypatch.setattr(owner, name, partial(getattr(self, name), getattr(owner, name)))

    def sample(self, original: Any) -> Any:
        self.events.append("sample")
        batch = original()
        self.sampled.append(batch.slots)
        return batch

    def write_back(self, original: Any, slots: Slots, deter: Any, stoch: Any) -> int:
        self.events.append("write back")
        self.written.append((slots, deter, stoch))
        return int(original(slots, deter, stoch))

    def train(self, original: Any, *args: Any) -> Any:
        self.events.append("train")
        update = original(*args)
        self.acting.append(to_host(update.acting))
        self.metrics.append(to_host(update.metrics))
        self.latents.append(to_host(update.latents))
        return update


def same(one: Any, two: Any) -> bool:
    equal = jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), one, two)
    return all(jax.tree.leaves(equal))


def test_gathers_then_writes_back_then_starts(learner, monkeypatch):
    """Any other order would make a run depend on timing, or train on latents one update older."""
    tape = Tape(learner, monkeypatch)
    for _ in range(3):
        learner.update()
    again = ["sample", "write back", "train"]
    assert tape.events == ["sample", "train", *again, *again]
    learner.finish()
    assert tape.events[-1] == "write back"
    assert learner.finish() == {} and len(tape.events) == 9
    assert learner.grad_steps == 3


def test_latents_go_back_to_the_records_they_came_from(learner, monkeypatch):
    tape = Tape(learner, monkeypatch)
    for _ in range(4):
        learner.update()
    learner.finish()
    for slots, (written, deter, stoch), latents in zip(
        tape.sampled, tape.written, tape.latents, strict=True
    ):
        assert same(slots, written)
        assert same((deter, stoch), tuple(latents))
        assert deter.shape[:2] == stoch.shape[:2] == (B, T)


def test_acting_parameters_lag_by_one_update(learner, monkeypatch):
    start, tape = to_host(learner.acting), Tape(learner, monkeypatch)
    for started in range(1, 5):
        learner.update()
        behind = [start, *tape.acting]
        assert same(learner.acting, behind[started - 1])
        # The warm-up starts from zero, so the first update moves nothing.
        assert same(learner.acting, behind[started]) == (started == 1)
    learner.finish()
    assert same(learner.acting, tape.acting[-1])
    assert same(learner.acting, learner._compiled.acting(learner.train_state))


def test_update_returns_the_metrics_of_the_one_before(learner, monkeypatch):
    tape = Tape(learner, monkeypatch)
    assert learner.update() == {}
    second, third = learner.update(), learner.update()
    names = learner._compiled.metric_names
    assert list(second) == names and "loss/total" in names
    np.testing.assert_array_equal(list(second.values()), tape.metrics[0])
    np.testing.assert_array_equal(list(third.values()), tape.metrics[1])
    assert second != third
    np.testing.assert_array_equal(list(learner.finish().values()), tape.metrics[2])


def test_counts_latents_whose_record_is_gone(compiled):
    """Written regardless, they would land in the records that took the place of theirs."""
    config = tiny_run(TASK, {"replay.capacity": 4 * B * T})
    replay = make_replay(config, compiled.agent.spaces, compiled)
    per_stream = 4 * B * T // config.envs
    fill(compiled, replay, per_stream)
    learner = Learner(compiled, replay)
    learner.update()
    learner.finish()
    assert learner.dropped == 0
    learner.update()
    starts = learner._pending.slots.start
    fill(compiled, replay, int(starts.max()) + 3)
    oldest = starts.max() + 3
    gone = np.clip(oldest - starts, 0, T).sum()
    assert 3 <= gone < B * T or (starts == starts.max()).all()
    learner.finish()
    assert learner.dropped == gone
    learner.update()
    fill(compiled, replay, 2 * per_stream)
    learner.finish()
    assert learner.dropped == gone + B * T


@pytest.mark.parametrize("in_flight", [False, True])
def test_continues_from_its_state(compiled, replay, learner, in_flight):
    """An update in flight has neither been written back nor reported; both must still happen."""
    for _ in range(2):
        learner.update()
    if not in_flight:
        learner.finish()
    arrays, host = learner.state()
    assert ("pending" in host) == in_flight
    windows = replay.state()
    latents = {key: column.copy() for key, column in replay._latents.columns.items()}
    follow = lambda who: [who.update(), who.update(), who.finish()]
    after = follow(learner)
    end = name_arrays(learner.train_state, "")

    replay.load_state(windows)
    for key, column in latents.items():
        replay._latents.columns[key][:] = column
    other = Learner(compiled, replay)
    other.load_state(arrays, host)
    assert (other.grad_steps, other.dropped) == (host["grad_steps"], host["dropped"])
    assert follow(other) == after
    assert same(name_arrays(other.train_state, ""), end)
    assert same(other.acting, learner.acting)


def test_adopts_an_agent_but_counts_anew(compiled, replay, learner):
    for _ in range(3):
        learner.update()
    arrays, _ = learner.state()
    other = Learner(compiled, replay)
    other.adopt(arrays)
    assert same(name_arrays(other.train_state, "state/"), {
        k: v for k, v in arrays.items() if k.startswith("state/")
    })  # fmt: skip
    assert same(other.acting, compiled.acting(learner.train_state))
    assert other.grad_steps == 0 and int(other.train_state.grad_steps) == 3


def test_ratio_owes_one_at_first_and_keeps_fractions():
    ratio = Ratio(0.75)
    assert [ratio.due(step) for step in (100, 101, 102, 103, 104)] == [1, 0, 1, 1, 1]
    assert ratio.due(108) == 3
    assert ratio.due(108) == 0


def test_ratio_counts_from_its_first_call():
    """Steps before the first possible batch are not made up for."""
    ratio = Ratio(2.0)
    assert ratio.due(1000) == 1
    assert ratio.due(1003) == 6


def test_ratio_below_one_gives_every_nth():
    ratio = Ratio(0.25)
    assert [ratio.due(step) for step in range(0, 10)] == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_ratio_continues_from_its_state(calls):
    one, two = Ratio(0.375), Ratio(0.375)
    for step in range(calls):
        one.due(step)
    two.load_state(one.state())
    steps = range(calls, calls + 20)
    assert [one.due(step) for step in steps] == [two.due(step) for step in steps]
