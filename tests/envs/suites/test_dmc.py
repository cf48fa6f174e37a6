"""The control suite: states without OpenGL, pixels through EGL, snapshots that continue exactly."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

pytest.importorskip("dm_control")

from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.suites.dmc import names
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

# dm_control's own indexing, under NumPy 2.5.
pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")

FLOAT = np.dtype(np.float32)
PIXELS = {"image": True, "size": (24, 20), "fast_render": True}


def _roll(env, record, steps, seed):
    """Play random actions; return every record."""
    rng = np.random.default_rng(seed)
    records = [record]
    for _ in range(steps):
        if records[-1] is not None and records[-1]["is_last"]:
            break
        actions = random_actions(env.spaces.action, rng, 1)
        records.append(env.step({key: value[0] for key, value in actions.items()}))
    return records[1:] if record is None else records


def _equal(first, second):
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
        for a, b in zip(first, second, strict=True)
    )


def test_states_keep_the_contract_and_have_a_key_each():
    assert check_env(lambda: make_env("dmc:cartpole_balance"), max_steps=50) == []
    env = make_env("dmc:cartpole_balance")
    assert env.spaces.obs == {"position": Space(FLOAT, (3,)), "velocity": Space(FLOAT, (2,))}
    assert env.spaces.action == {"action": Space(FLOAT, (1,))}
    assert make_env("dmc:walker_walk").spaces.obs["height"] == Space(FLOAT, (1,))


PROPRIO = """
acrobot_swingup ball_in_cup_catch cartpole_balance cartpole_balance_sparse cartpole_swingup
cartpole_swingup_sparse cheetah_run finger_spin finger_turn_easy finger_turn_hard hopper_hop
hopper_stand pendulum_swingup reacher_easy reacher_hard walker_run walker_stand walker_walk
""".split()
VISION = [*PROPRIO, "quadruped_run", "quadruped_walk"]


def test_the_tasks_of_both_published_benchmarks_are_there():
    assert (len(PROPRIO), len(VISION)) == (18, 20)
    assert set(VISION) <= set(names())  # the slow test of snapshots plays them all


def test_names_with_underscores_in_both_parts_are_understood():
    assert make_env("dmc:ball_in_cup_catch").spaces.action["action"].shape == (2,)


def test_pixels_keep_the_contract():
    assert check_env(lambda: make_env("dmc:cartpole_balance", **PIXELS), max_steps=5) == []
    env = make_env("dmc:cartpole_balance", proprio=False, **PIXELS)
    assert env.spaces.obs == {"image": Space(np.dtype(np.uint8), (24, 20, 3))}
    first = env.reset(0)["image"]
    assert first.std() > 0
    moved = _roll(env, None, 20, seed=1)[-1]["image"]
    assert (first != moved).any()


def test_the_quadruped_is_seen_by_its_own_camera():
    env = make_env("dmc:quadruped_walk", **PIXELS)
    chosen = make_env("dmc:quadruped_walk", camera=2, **PIXELS)
    other = make_env("dmc:quadruped_walk", camera=0, **PIXELS)
    assert (env.reset(3)["image"] == chosen.reset(3)["image"]).all()
    assert (env.reset(3)["image"] != other.reset(3)["image"]).any()


def test_states_import_no_opengl_and_leave_the_environment_variable_alone():
    program = """
        import os, sys
        from dreamer_jax.envs.registry import make_env
        env = make_env("dmc:cartpole_balance")
        record = env.reset(0)
        assert "OpenGL" not in sys.modules and "MUJOCO_GL" not in os.environ
        picture = env.render()
        assert picture.shape == (240, 320, 3) and picture.std() > 0
        assert "MUJOCO_GL" not in os.environ
        second = make_env("dmc:cartpole_balance", image=True, size=(24, 20))
        assert second.reset(0)["image"].std() > 0
    """
    env = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "DISPLAY")}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, env=env)


def test_without_opengl_states_work_pixels_say_why_and_render_gives_nothing():
    program = """
        from dreamer_jax.envs.registry import make_env
        from dreamer_jax.errors import UserError
        env = make_env("dmc:cartpole_balance")
        env.reset(0)
        assert env.render() is None
        try:
            make_env("dmc:cartpole_balance", image=True)
        except UserError as error:
            assert "need OpenGL" in str(error) and "off" in str(error), error
        else:
            raise SystemExit("no error")
    """
    env = os.environ | {"MUJOCO_GL": "off"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, env=env)


def test_the_end_of_time_is_truncation_and_not_termination():
    """All tasks but lqr end by the clock only; taking that for death biases every value."""
    env = make_env("dmc:cartpole_balance", repeat=100)
    record, steps = env.reset(0), 0
    while not record["is_last"]:
        record = env.step({"action": np.zeros(1, np.float32)})
        steps += 1
    assert steps == 10
    assert not record["is_terminal"]


def test_repeat_sums_rewards():
    once, twice = make_env("dmc:cartpole_balance"), make_env("dmc:cartpole_balance", repeat=2)
    action = {"action": np.full(1, 0.3, np.float32)}
    once.reset(5), twice.reset(5)
    first, second, both = once.step(action), once.step(action), twice.step(action)
    assert twice.repeat == 2
    assert both["reward"] == pytest.approx(first["reward"] + second["reward"])
    assert (both["position"] == second["position"]).all()


@pytest.mark.parametrize(
    "task", ["dmc:cartpole_balance", "dmc:reacher_easy", "dmc:finger_turn_easy"]
)
def test_an_episode_is_a_function_of_its_seed(task):
    first, second = make_env(task), make_env(task)
    _roll(second, second.reset(1), 7, seed=9)
    assert _equal(_roll(first, first.reset(5), 11, 3), _roll(second, second.reset(5), 11, 3))
    assert not _equal([first.reset(5)], [second.reset(6)])


# Targets drawn into the model, contacts, the Runge-Kutta integrator, muscles and a ball.
SNAPSHOTS = ["reacher_easy", "walker_walk", "cartpole_balance", "dog_fetch", "quadruped_fetch"]


@pytest.mark.parametrize("task", SNAPSHOTS)
def test_a_snapshot_continues_bit_for_bit_in_another_instance(task):
    first, second = make_env(f"dmc:{task}"), make_env(f"dmc:{task}")
    _roll(first, first.reset(5), 23, seed=3)
    state = first.snapshot()
    _roll(second, second.reset(8), 7, seed=4)
    second.restore(state)
    assert _equal(_roll(first, None, 31, seed=6), _roll(second, None, 31, seed=6))


@pytest.mark.slow
def test_snapshots_of_every_task_continue_bit_for_bit():
    wrong = []
    for task in names():
        first, second = make_env(f"dmc:{task}"), make_env(f"dmc:{task}")
        _roll(first, first.reset(5), 23, seed=3)
        second.restore(first.snapshot())
        if not _equal(_roll(first, None, 31, seed=6), _roll(second, None, 31, seed=6)):
            wrong.append(task)
    assert wrong == []


def test_a_snapshot_continues_pixels_and_the_clock():
    first, second = (make_env("dmc:cartpole_balance", repeat=90, **PIXELS) for _ in range(2))
    _roll(first, first.reset(5), 3, seed=3)
    second.restore(first.snapshot())
    expected, found = _roll(first, None, 100, seed=6), _roll(second, None, 100, seed=6)
    assert len(expected) == 9 and expected[-1]["is_last"]
    assert _equal(expected, found)


def test_an_environment_that_observes_nothing_is_refused():
    with pytest.raises(UserError, match="observes nothing"):
        make_env("dmc:cartpole_balance", proprio=False)
