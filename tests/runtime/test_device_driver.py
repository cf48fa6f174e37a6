"""The driver on the device against the one on the host: the same records from the same parameters.

The toy environment is made of integers and its policy of few layers, so records are compared bit
for bit; latents to the rounding that another fusion of the same operations may bring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import tiny_run

from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import Compiled, compile_agent
from dreamer_jax.device_envs.chase import Chase
from dreamer_jax.device_envs.host import HostEnv
from dreamer_jax.device_envs.vector import DeviceVectorEnv
from dreamer_jax.envs.registry import in_jax
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.errors import InvalidValueError, UserError
from dreamer_jax.runtime.assemble import make_replay
from dreamer_jax.runtime.device_driver import DeviceDriver
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.environments import Environments, make_driver, make_envs
from dreamer_jax.runtime.episodes import Episode

pytestmark = pytest.mark.usefixtures("cheap_compile")

CONFIG = tiny_run("device:chase", {"agent.actor_outscale": 1.0})  # far from uniform
ENV, NUMBER, SEED = Chase(cells=3, length=7), CONFIG.envs, 5


@pytest.fixture(scope="module")
def compiled(cheap_compile: None) -> Compiled:  # noqa: ARG001
    return compile_agent(CONFIG, find_size(CONFIG.size), ENV.spaces)


@pytest.fixture(scope="module")
def params(compiled: Compiled) -> Any:
    return compiled.acting(compiled.init())


class Tape:
    """Keeps what a driver inserts, one vector step after the other."""

    def __init__(self, steps: int) -> None:
        self.rows: list[dict[str, np.ndarray]] = []
        self._steps = steps  # 0: single records without axis K

    def __call__(self, records: dict[str, np.ndarray], latents: dict[str, Any]) -> None:
        assert not records.keys() & latents.keys()
        record = records | latents
        parts = [record]
        if self._steps:
            parts = [{k: v[i] for k, v in record.items()} for i in range(self._steps)]
        self.rows += [{k: np.array(v) for k, v in part.items()} for part in parts]


def device(compiled: Compiled, steps: int, **options: Any) -> tuple[DeviceDriver, Tape]:
    tape = Tape(steps)
    envs = DeviceVectorEnv(ENV, NUMBER, seed=SEED, steps=steps)
    return DeviceDriver(envs, compiled, tape, **options), tape


def run(driver: Driver | DeviceDriver, params: Any, calls: int) -> list[tuple[int, Episode]]:
    return [ended for _ in range(calls) for ended in driver.step(params)]


def assert_same(ours: Tape, theirs: Tape, atol: float = 0.0) -> None:
    assert len(ours.rows) == len(theirs.rows) > 0
    for step, (mine, other) in enumerate(zip(ours.rows, theirs.rows, strict=True)):
        assert mine.keys() == other.keys()
        for key, value in mine.items():
            assert value.dtype == other[key].dtype, key
            limit = atol if key == "deter" else 0.0
            np.testing.assert_allclose(
                value, other[key], rtol=0, atol=limit, err_msg=f"{key} {step}"
            )


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_records_are_those_of_the_host(compiled, params, mode):
    steps, calls = 5, 6
    ours, tape = device(compiled, steps, mode=mode)
    ended = run(ours, params, calls)
    with VectorEnv(partial(HostEnv, ENV), NUMBER, seed=SEED, workers="inline") as envs:
        expected = Tape(0)
        host = Driver(envs, compiled, expected, mode=mode)
        assert ended == run(host, params, steps * calls)
        assert_same(tape, expected, atol=1e-6)
        assert (ours.calls, ours.policy_steps) == (host.calls, host.policy_steps)
    actions = np.stack([row["action/action"] for row in tape.rows])
    last = np.stack([row["is_last"] for row in tape.rows])
    assert (actions[last] == 0).all() and last.sum() > 5
    assert len(np.unique(actions)) > 1 and {e.logs["log/caught"] > 0 for _, e in ended} == {
        False, True,
    }  # fmt: skip


def test_how_steps_are_cut_into_calls_changes_nothing(compiled, params):
    one, two = device(compiled, 1), device(compiled, 6)
    assert run(one[0], params, 24) == run(two[0], params, 4)
    assert_same(one[1], two[1])


@pytest.mark.parametrize("calls", [0, 3])
def test_continues_from_its_state(compiled, params, calls):
    one, tape = device(compiled, 5)
    run(one, params, calls)
    arrays, host = one.state()
    two, rest = device(compiled, 5)
    assert two.load_state(arrays, host) == []
    tape.rows.clear()
    assert run(one, params, 4) == run(two, params, 4)
    assert_same(tape, rest)
    assert (one.calls, one.policy_steps) == (two.calls, two.policy_steps)
    ours, theirs = one.state()[0], two.state()[0]
    assert ours.keys() == theirs.keys()
    assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours)


def test_state_of_other_environments_is_refused(compiled, params):
    driver, _ = device(compiled, 2)
    run(driver, params, 1)
    arrays, host = driver.state()
    other = DeviceDriver(DeviceVectorEnv(ENV, NUMBER + 1, seed=SEED), compiled, None)
    with pytest.raises(UserError, match=f"has {NUMBER} environments on the device"):
        other.load_state(arrays, host)


def test_records_fill_the_replay(compiled, params):
    config = tiny_run("device:chase")
    with make_envs(config, NUMBER, seed=SEED) as envs:
        replay = make_replay(config, Environments(envs), compiled.latent_spaces())
        driver = make_driver(envs, compiled, replay)
        driver.step(params)
        assert isinstance(driver, DeviceDriver)
        assert replay.size == NUMBER * config.device_steps
        driver.step(params)
        assert replay.size == 2 * NUMBER * config.device_steps


def test_one_environment_is_shown_and_the_loop_compiled_once(compiled, params):
    driver, _ = device(compiled, 3)
    assert driver.render(0) is None
    run(driver, params, 2)
    assert driver._rollout._loop._cache_size() == 1
    places = np.asarray(driver._progress.records["places"])[1]
    picture = driver.render(1)
    agent = np.argwhere(picture[..., 0])[0] * ENV.cells // len(picture)
    assert picture.dtype == np.uint8 and agent.tolist() == places[0].tolist()


def test_what_a_task_is_decides_who_steps_it():
    assert in_jax("device:chase") and in_jax("my_module:make")
    assert not in_jax("gymnasium:CartPole-v1")
    for task, options, kind in (
        ("device:chase", {}, DeviceVectorEnv),
        ("device:chase", {"device_steps": 0}, VectorEnv),
        ("testing:chase", {}, VectorEnv),
        ("dreamer_jax.device_envs.chase:Chase", {}, DeviceVectorEnv),
        ("dreamer_jax.envs.testing.chase:Chase", {}, VectorEnv),
    ):
        with make_envs(tiny_run(task, {"env_workers": "inline", **options}), 2, seed=0) as envs:
            assert type(envs) is kind, task
    with make_envs(tiny_run("device:chase"), 2, seed=0, watched=True) as envs:
        assert isinstance(envs, DeviceVectorEnv) and envs.steps == 1


def test_tiny_agents_of_bfloat16_fit_the_loop():
    """A carry whose dtype changes from one step to the next cannot be looped."""
    config = tiny_run("device:chase", {"compute_dtype": "bfloat16"})
    agent = compile_agent(config, find_size(config.size), ENV.spaces)
    driver, _ = device(agent, 3)
    progress = jax.eval_shape(driver._rollout._first, jax.ShapeDtypeStruct((NUMBER,), np.uint32))
    seeds = jax.ShapeDtypeStruct((NUMBER, 3), np.uint32)
    acting = agent.agent.acting_params(agent.shape())
    after, *_ = jax.eval_shape(
        driver._rollout._roll, acting, progress, seeds, agent.key("policy"), np.uint32(0)
    )
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, progress)


@dataclass(frozen=True)
class Sour(Chase):
    """Chase with one value that its space rules out."""

    key: str = "reward"
    value: float = math.nan
    at_reset: bool = False

    def reset(self, key):
        state, record = super().reset(key)
        return state, self._spoil(record) if self.at_reset else record

    def step(self, state, action):
        state, record = super().step(state, action)
        return state, record if self.at_reset else self._spoil(record)

    def _spoil(self, record):
        old = record[self.key]
        return {**record, self.key: jnp.full_like(old, self.value)}


@pytest.mark.parametrize(
    ("key", "value", "at_reset", "told"),
    [
        ("reward", math.nan, False, "'reward' holds .*nan"),
        ("reward", math.inf, False, "'reward' holds .*inf"),
        ("places", 9, False, "'places' holds"),
        ("places", -2, True, "'places' holds .*-2"),
    ],
)
def test_values_of_device_environments_are_checked(compiled, params, key, value, at_reset, told):
    """NaN rewards gave skipped updates, scores of null and exit code 0."""
    tape = Tape(5)
    env = Sour(cells=3, length=7, key=key, value=value, at_reset=at_reset)
    envs = DeviceVectorEnv(env, NUMBER, seed=SEED, steps=5)
    driver = DeviceDriver(envs, compiled, tape)
    with pytest.raises(InvalidValueError, match=f"environment 0: {told}"):
        run(driver, params, 2)
    assert tape.rows == [], "nothing of it is stored"


def test_missing_values_of_device_environments_are_legal(compiled, params):
    tape = Tape(5)
    env = Sour(cells=3, length=7, key="places", value=-1)
    envs = DeviceVectorEnv(env, NUMBER, seed=SEED, steps=5)
    run(DeviceDriver(envs, compiled, tape), params, 1)
    assert len(tape.rows) == 5


def test_dropping_episodes_is_refused_where_environments_cannot_be_built_again():
    config = tiny_run("device:chase", {"faults.invalid_values": "drop"})
    with pytest.raises(UserError, match="invalid_values=drop"):
        make_envs(config, 2, seed=0)
