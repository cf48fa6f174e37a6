"""The learner's fixed order, its lag of one update, and what it leaves alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from tiny_run import tiny_run

from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import Compiled, compile_agent, name_arrays, to_host
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.replay import Replay, Slots
from dreamer_jax.runtime.assemble import make_replay
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.environments import Environments
from dreamer_jax.runtime.learner import Learner

pytestmark = pytest.mark.usefixtures("cheap_compile")

TASK = "testing:counting"
CONFIG = tiny_run(TASK)
B, T = CONFIG.batch_size, CONFIG.batch_length
PHASE = "joint"


@pytest.fixture(scope="module")
def compiled(cheap_compile: None) -> Compiled:  # noqa: ARG001
    return compile_agent(CONFIG, find_size(CONFIG.size), make_env(TASK).spaces)


def fill(compiled: Compiled, replay: Replay, steps: int) -> None:
    with VectorEnv(partial(make_env, TASK), CONFIG.envs, seed=7, workers="inline") as envs:
        driver = Driver(envs, compiled, replay.add)
        params = compiled.acting(compiled.init())
        for _ in range(steps):
            driver.step(params)


def make(compiled: Compiled, config: Any = CONFIG) -> Replay:
    with VectorEnv(partial(make_env, TASK), config.envs, seed=7, workers="inline") as envs:
        return make_replay(config, Environments(envs), compiled.latent_spaces())


@pytest.fixture
def replay(compiled: Compiled) -> Replay:
    replay = make(compiled)
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
        self.written: list[tuple[Slots, dict[str, np.ndarray]]] = []
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

    def write_back(self, original: Any, slots: Slots, latents: Any) -> int:
        self.events.append("write back")
        self.written.append((slots, latents))
        return int(original(slots, latents))

    def train(self, original: Any, *args: Any) -> Any:
        assert args[0] == PHASE
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
        learner.update(PHASE)
    again = ["sample", "write back", "train"]
    assert tape.events == ["sample", "train", *again, *again]
    learner.finish()
    assert tape.events[-1] == "write back"
    assert learner.finish() == {} and len(tape.events) == 9
    assert learner.grad_steps == 3


def test_latents_go_back_to_the_records_they_came_from(learner, monkeypatch):
    tape = Tape(learner, monkeypatch)
    for _ in range(4):
        learner.update(PHASE)
    learner.finish()
    names = learner._compiled.latent_spaces().keys()
    for slots, (written, stored), latents in zip(
        tape.sampled, tape.written, tape.latents, strict=True
    ):
        assert same(slots, written)
        assert stored.keys() == latents.keys() == names and same(stored, latents)
        assert all(value.shape[:2] == (B, T) for value in stored.values())


def test_acting_parameters_lag_by_one_update(learner, monkeypatch):
    start, tape = to_host(learner.acting), Tape(learner, monkeypatch)
    for started in range(1, 5):
        learner.update(PHASE)
        behind = [start, *tape.acting]
        assert same(learner.acting, behind[started - 1])
        # The warm-up starts from zero, so the first update moves nothing.
        assert same(learner.acting, behind[started]) == (started == 1)
    learner.finish()
    assert same(learner.acting, tape.acting[-1])
    assert same(learner.acting, learner._compiled.acting(learner.train_state))


def test_update_returns_the_metrics_of_the_one_before(learner, monkeypatch):
    tape = Tape(learner, monkeypatch)
    assert learner.update(PHASE) == {}
    second, third = learner.update(PHASE), learner.update(PHASE)
    names = learner._compiled.metric_names[PHASE]
    assert list(second) == names and "loss/total" in names
    np.testing.assert_array_equal(list(second.values()), tape.metrics[0])
    np.testing.assert_array_equal(list(third.values()), tape.metrics[1])
    assert second != third
    np.testing.assert_array_equal(list(learner.finish().values()), tape.metrics[2])


def test_counts_latents_whose_record_is_gone(compiled):
    """Written regardless, they would land in the records that took the place of theirs."""
    config = tiny_run(TASK, {"replay.capacity": 4 * B * T})
    replay = make(compiled, config)
    per_stream = 4 * B * T // config.envs
    fill(compiled, replay, per_stream)
    learner = Learner(compiled, replay)
    learner.update(PHASE)
    learner.finish()
    assert learner.dropped == 0
    learner.update(PHASE)
    starts = learner._pending.slots.start
    fill(compiled, replay, int(starts.max()) + 3)
    oldest = starts.max() + 3
    gone = np.clip(oldest - starts, 0, T).sum()
    assert 3 <= gone < B * T or (starts == starts.max()).all()
    learner.finish()
    assert learner.dropped == gone
    learner.update(PHASE)
    fill(compiled, replay, 2 * per_stream)
    learner.finish()
    assert learner.dropped == gone + B * T


@pytest.mark.parametrize("in_flight", [False, True])
def test_continues_from_its_state(compiled, replay, learner, in_flight):
    """An update in flight has neither been written back nor reported; both must still happen."""
    for _ in range(2):
        learner.update(PHASE)
    if not in_flight:
        learner.finish()
    arrays, host = learner.state()
    assert ("pending" in host) == in_flight
    windows = replay.state()
    latents = {key: column.copy() for key, column in replay._latents.columns.items()}
    follow = lambda who: [who.update(PHASE), who.update(PHASE), who.finish()]
    after = follow(learner)
    end = name_arrays(learner.train_state, "")

    replay.load_state(windows)
    for key, column in latents.items():
        replay._latents.columns[key][:] = column
    other = Learner(compiled, replay)
    other.load_state(arrays, host)
    assert (other.grad_steps, other.dropped) == (host["grad_steps"], host["dropped"])
    assert same(other.state()[0], arrays)  # carry and acting parameters, too
    assert follow(other) == after
    assert same(name_arrays(other.train_state, ""), end)
    assert same(other.acting, learner.acting)


def test_adopts_an_agent_but_counts_anew(compiled, replay, learner):
    for _ in range(3):
        learner.update(PHASE)
    arrays, _ = learner.state()
    other = Learner(compiled, replay)
    other.adopt(arrays)
    assert same(name_arrays(other.train_state, "state/"), {
        k: v for k, v in arrays.items() if k.startswith("state/")
    })  # fmt: skip
    assert same(other.acting, compiled.acting(learner.train_state))
    assert other.grad_steps == 0 and int(other.train_state.grad_steps) == 3


def test_a_look_for_a_report_leaves_no_trace(compiled, replay, learner, monkeypatch):
    """Reports drew from the queue and the generator of training: other batches followed."""
    learner.update(PHASE)
    before, state = replay.state(), name_arrays(learner.train_state, "")
    tape = Tape(learner, monkeypatch)
    looked = learner.look(11)
    assert replay.state() == before and tape.events == []
    assert same(name_arrays(learner.train_state, ""), state)
    assert learner.grad_steps == 1 and learner._pending is not None
    records = to_host(looked).records
    assert records.reward.shape == (B, T + CONFIG.replay.context)
    assert records.obs.keys() == compiled.agent.spaces.obs.keys()


def test_metrics_bear_the_name_of_their_phase_where_there_are_several(learner, monkeypatch):
    monkeypatch.setattr(type(learner._compiled), "phases", {"one": 1.0, PHASE: 0.5})
    learner.update(PHASE)
    metrics = learner.update(PHASE)
    names = learner._compiled.metric_names[PHASE]
    assert list(metrics) == [f"{PHASE}/{name}" for name in names]


def test_arrays_of_a_checkpoint_are_named_by_what_they_are(learner):
    """The names are the format on disk: a rename makes every checkpoint one of another agent."""
    learner.update(PHASE)
    arrays, _ = learner.state()
    folders = {"/".join(name.split("/")[:4]) for name in arrays if name.startswith("state/")}
    assert "state/grad_steps" in folders
    assert "state/aux/main/slow_critic" in folders and "state/aux/main/stats" in folders
    assert {name.split("/")[1] for name in folders} == {"params", "aux", "opt", "grad_steps"}
    assert {name.split("/")[2] for name in folders if "/opt/" in name} == {PHASE}
    modules = {name.split("/")[2] for name in folders if "/params/" in name}
    heads = {"reward", "cont", "actor", "critic"}
    assert modules == {"encoder", "dynamics", "decoder", *heads}
    others = {name.split("/")[0] for name in arrays} - {"state"}
    assert others == {"train_carry", "acting"}
