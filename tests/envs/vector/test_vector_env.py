"""Several environments as one: alignment, seeds, equality of modes, exact resume, cost."""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys

import numpy as np
import pytest

from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.vector import placement
from dreamer_jax.envs.vector.vector_env import VectorEnv, episode_seed
from dreamer_jax.errors import UserError

# dm_control's own indexing, under NumPy 2.5.
pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")

PROBE = '''
import os, sys
import numpy as np
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.errors import UserError

class Probe(Counting):
    """Says at index 2 where it runs."""

    def __init__(self, fault=""):
        super().__init__(length=4)
        if fault == "at once":
            raise UserError("no such level")

    def step(self, action):
        record = super().step(action)
        if record["index"] == 2:
            record["log/jax"] = np.float32("jax" in sys.modules)
            record["log/pid"] = np.int64(os.getpid())
        return record

class Forgetful(Counting):
    """Counts on over its episodes, so that it is no function of its seed."""

    resets = 0

    def reset(self, seed):
        Forgetful.resets += 1
        record = super().reset(seed)
        record["seed"][1] = Forgetful.resets
        return record

    def step(self, action):
        record = super().step(action)
        record["seed"][1] = Forgetful.resets
        return record
'''


@pytest.fixture
def probe(tmp_path, monkeypatch):
    (tmp_path / "my_probe.py").write_text(PROBE)
    monkeypatch.syspath_prepend(tmp_path)
    yield functools.partial(make_env, "my_probe:Probe")
    sys.modules.pop("my_probe", None)


def _make(task, **options):
    return functools.partial(make_env, task, **options)


def _run(env, steps, seed, first=None):
    """Step with random actions; return the records, the reset or given one included."""
    rng = np.random.default_rng(seed)
    records = [env.reset() if first is None else first]
    for _ in range(steps):
        records.append(env.step(random_actions(env.spaces.action, rng, env.number)))
    return records


def _equal(first, second):
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)
        for a, b in zip(first, second, strict=True)
    )


def test_records_and_actions_are_aligned_in_time():
    """An action paired with the wrong record is the fault that losses do not show."""
    with VectorEnv(lambda: Counting(length=5, actions=3), 7, seed=11, workers="inline") as env:
        rng = np.random.default_rng(0)
        records = env.reset()
        assert records["is_first"].all() and not records["index"].any()
        for _ in range(29):
            action = rng.integers(3, size=7).astype(np.int32)
            before, records = records, env.step({"action": action})
            for i in range(7):
                if before["is_last"][i]:
                    assert records["is_first"][i] and records["index"][i] == 0
                    assert records["reward"][i] == 0
                else:
                    assert not records["is_first"][i]
                    assert records["index"][i] == before["index"][i] + 1
                    assert records["reward"][i] == records["index"][i] * 3 + action[i]
                assert records["is_last"][i] == (records["index"][i] == 5)


def test_episodes_start_from_their_own_seeds():
    class Uneven(Counting):
        lengths = itertools.count(2)

        def __init__(self):
            super().__init__(length=7)
            self._length = next(self.lengths)

    seen = []
    with VectorEnv(Uneven, 3, seed=5, process=2, workers="inline") as env:
        for records in _run(env, 40, seed=0):
            for i in np.flatnonzero(records["is_first"]):
                high, low = records["seed"][i].astype(int)
                seen.append((int(i), int(high) * 65536 + int(low)))
    for i in range(3):
        mine = [seed for environment, seed in seen if environment == i]
        assert mine == [episode_seed(5, 2, i, k) for k in range(len(mine))]
    assert len(seen) == len(set(seen)) > 20


def test_seeds_differ_with_every_argument_and_fit_31_bits():
    seeds = [episode_seed(*arguments) for arguments in itertools.product(range(3), repeat=4)]
    assert len(set(seeds)) == 81
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert max(seeds) > 2**30


def test_no_count_of_episodes_wraps():
    """They are numbers of Python; a fixed width would begin the same episodes again."""
    with VectorEnv(Counting, 2, seed=7, workers="inline") as env:
        env.reset()
        env._episodes = [2**32 + 4, 2**64 + 4]
        env.reset()
        state = json.loads(json.dumps([each["episode"] for each in env.state()["environments"]]))
        assert state == [2**32 + 5, 2**64 + 5]
    seeds = {episode_seed(7, 0, 0, k) for k in (5, 2**32 + 5, 2**33 + 5, 2**64 + 5)}
    assert len(seeds) == 4 and max(seeds) < 2**31


def test_returned_records_never_change():
    with VectorEnv(_make("testing:mixed"), 3, seed=1, workers="inline") as env:
        records = _run(env, 13, seed=0)
    with VectorEnv(_make("testing:mixed"), 3, seed=1, workers="inline") as env:
        rng = np.random.default_rng(0)
        copies = [{key: value.copy() for key, value in env.reset().items()}]
        for _ in range(13):
            stacked = env.step(random_actions(env.spaces.action, rng, 3))
            copies.append({key: value.copy() for key, value in stacked.items()})
    assert _equal(records, copies)


def test_records_have_the_layout_that_the_spaces_say():
    with VectorEnv(_make("testing:mixed"), 3, seed=1, workers="inline") as env:
        records = env.reset()
        for key, space in env.spaces.obs.items():
            assert records[key].shape == (3, *space.shape) and records[key].dtype == space.dtype
        assert records["reward"].dtype == np.float32 and records["is_terminal"].dtype == np.bool_
        assert env.repeat == 1 and env.number == 3


def test_workers_give_the_same_records_as_this_process():
    """Where environments run must not change a run; 5 over 2 workers divides unevenly."""
    with VectorEnv(_make("testing:mixed"), 5, seed=3, workers="inline") as env:
        expected = _run(env, 25, seed=0)
    with VectorEnv(_make("testing:mixed"), 5, seed=3, workers="process") as env:
        assert env.mode == "process"
        assert _equal(_run(env, 25, seed=0), expected)


def test_workers_import_neither_jax_nor_the_main_module(probe, tmp_path, monkeypatch):
    """JAX in every worker costs gigabytes; an unguarded script would train in every worker."""
    script = tmp_path / "train_script.py"
    script.write_text("raise SystemExit('the main module ran in a worker')\n")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with VectorEnv(probe, 3, seed=1, workers="process") as env:
        assert not env._group.has_jax
        records = _run(env, 2, seed=0)
    assert "log/jax" not in records[1]
    assert records[2]["log/jax"].tolist() == [0.0, 0.0, 0.0]
    assert not (records[2]["log/pid"] == np.float32(os.getpid())).any()


def test_log_values_are_nan_where_not_reported():
    class Sometimes(Counting):
        def step(self, action):
            record = super().step(action)
            return record | ({"log/even": np.float32(7)} if self._seed % 2 == 0 else {})

    with VectorEnv(Sometimes, 16, seed=1, workers="inline") as env:
        even = env.reset()["seed"][:, 1] % 2 == 0
        assert 0 < even.sum() < 16
        records = env.step({"action": np.zeros(16, np.int32)})
    assert (records["log/even"][even] == 7).all() and np.isnan(records["log/even"][~even]).all()


@pytest.mark.parametrize("workers", ["inline", "process", "auto"])
def test_a_users_fault_while_building_stays_one_line(probe, workers):
    with pytest.raises(UserError, match=r"^no such level$"):
        VectorEnv(functools.partial(probe, fault="at once"), 2, seed=1, workers=workers)


def test_a_constructor_that_cannot_be_sent_says_what_to_do():
    with pytest.raises(UserError, match="top level of a module, or choose workers='inline'"):
        VectorEnv(lambda: Counting(), 2, seed=1, workers="process")


def test_closing_twice_ends_workers_and_frees_memory(probe):
    env = VectorEnv(probe, 2, seed=1, workers="process")
    processes = [part.process.pid for part in env._group._workers]
    name = env._group._memory.name
    env.reset()
    env.close()
    env.close()
    for pid in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not os.path.exists(f"/dev/shm/{name}")


@pytest.mark.parametrize(
    ("cost", "number", "mode", "saved"),
    [(2e-4, 3, "inline", "0.3"), (2e-3, 3, "process", "3.0"), (2e-4, 11, "process", "1.1")],
)
def test_auto_divides_costly_vector_steps_only_and_says_why(monkeypatch, cost, number, mode, saved):
    ticks = itertools.count()
    monkeypatch.setattr(placement.time, "perf_counter", lambda: next(ticks) * cost)
    monkeypatch.setattr(placement, "cores", lambda: 2)
    with VectorEnv(_make("testing:chase"), number, seed=1) as env:
        assert env.mode == mode
        place = {"inline": "in this process", "process": "in 2 worker processes"}[mode]
        assert env.mode_reason.startswith(place)
        assert f"takes {cost * 1e3:.3f} ms, so 2 processes would save {saved}" in env.mode_reason


@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_auto_divides_environments_that_fail_while_they_are_timed(monkeypatch, fault):
    """The failure ended the run before it began; it is one of those that a run survives."""
    monkeypatch.setattr(placement, "cores", lambda: 2)
    with VectorEnv(_make("testing:flaky", fault=fault), 2, seed=1) as env:
        assert env.mode == "process" and "failed while it was timed" in env.mode_reason


@pytest.mark.parametrize(("number", "cores"), [(1, 8), (3, 1)])
def test_auto_stays_inline_where_there_is_nothing_to_divide(monkeypatch, number, cores):
    monkeypatch.setattr(placement, "cores", lambda: cores)
    with VectorEnv(_make("testing:chase"), number, seed=1) as env:
        assert env.mode == "inline" and "nothing to divide" in env.mode_reason


RESUMED = [
    ("testing:counting", {}),
    ("testing:mixed", {}),
    ("gymnasium:CartPole-v1", {}),
    ("gymnasium:Pendulum-v1", {"repeat": 2, "time_limit": 60}),
    ("dmc:reacher_easy", {"repeat": 50}),
    ("dmc:cartpole_balance", {"image": True, "size": (24, 20), "fast_render": True}),
    ("atari:breakout", {"time_limit": 80}),
    ("atari:breakout", {"lives": "reset", "repeat": 40, "actions": "needed"}),
    ("atari:tic_tac_toe_3d", {"time_limit": 80}),
]


@pytest.mark.parametrize(("task", "options"), RESUMED)
def test_a_run_resumed_in_mid_episode_goes_on_bit_for_bit(task, options):
    make = _make(task, **options)
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        _run(env, 17, seed=1)
        state = env.state()
        last = env._records
        expected = _run(env, 29, seed=2, first=last)
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        _run(env, 5, seed=3)
        assert env.load_state(state) == []
        assert _equal(_run(env, 29, seed=2, first=last), expected)
    assert any(records["is_first"].any() for records in expected[1:]) or "image" in options


@pytest.mark.parametrize("task", ["testing:counting", "dmc:reacher_easy"])
def test_workers_resume_what_this_process_saved_and_back(task):
    states, ends = {}, {}
    for workers in ("inline", "process"):
        with VectorEnv(_make(task), 3, seed=7, workers=workers) as env:
            _run(env, 8, seed=1)
            states[workers] = env.state()
            ends[workers] = _run(env, 8, seed=2, first=env._records)
    for saved, workers in (("inline", "process"), ("process", "inline")):
        with VectorEnv(_make(task), 3, seed=7, workers=workers) as env:
            assert env.load_state(states[saved]) == []
            again = _run(env, 8, seed=2, first=ends[saved][0])
            assert _equal(again, ends[saved])


def test_another_process_continues_open_episodes_and_then_starts_its_own():
    """An open episode is brought back from its own seed, through a second save as well."""
    make = _make("gymnasium:CartPole-v1")
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        _run(env, 8, seed=1)
        state, last = env.state(), env._records
        expected = _run(env, 41, seed=2, first=last)
    with VectorEnv(make, 3, seed=7, process=1, workers="inline") as env:
        assert env.load_state(state) == []
        second = env.state()
    with VectorEnv(make, 3, seed=7, process=2, workers="inline") as env:
        assert env.load_state(second) == []
        found = _run(env, 41, seed=2, first=last)
    (ours, theirs) = (np.stack([x["vector"] for x in records]) for records in (found, expected))
    for each in state["environments"]:  # as saved by earlier versions
        del each["seed"]
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        assert env.load_state(state) == []
        assert _equal(_run(env, 41, seed=2, first=last), expected)
    resets = np.stack([records["is_first"] for records in expected]).argmax(0)
    for i, reset in enumerate(resets):
        assert reset > 0, "an episode ends within the steps"
        assert np.array_equal(ours[:reset, i], theirs[:reset, i])
        assert not np.array_equal(ours[reset, i], theirs[reset, i])


def test_a_second_save_after_a_resume_holds_the_whole_episode():
    make = functools.partial(Counting, length=31)
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        _run(env, 7, seed=1)
        first = env.state()
        expected = _run(env, 20, seed=2, first=env._records)
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        env.load_state(first)
        _run(env, 11, seed=2, first=env._records)
        second = env.state()
        assert all(len(each["actions"]["action"]) == 18 for each in second["environments"])
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        assert env.load_state(second) == []
        rng = np.random.default_rng(2)
        actions = [random_actions(env.spaces.action, rng, 3) for _ in range(20)]
        assert _equal([env.step(action) for action in actions[11:]], expected[12:])


@pytest.mark.parametrize("one_over", [True, False])
@pytest.mark.usefixtures("probe")
def test_what_cannot_be_brought_back_is_reported_and_starts_anew(one_over):
    make = _make("my_probe:Forgetful")
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        _run(env, 3, seed=1)
        state = env.state()
    if one_over:
        # One environment whose episode is over needs no bringing back.
        state["environments"][1]["ended"] = True
    with VectorEnv(make, 3, seed=7, workers="inline") as env:
        assert env.load_state(state) == ([0, 2] if one_over else [0, 1, 2])
        records = env.step(random_actions(env.spaces.action, np.random.default_rng(0), 3))
        assert records["is_first"].all()
        assert env.state()["environments"][0]["episode"] == 1


def test_an_episode_that_ends_early_when_replayed_is_reported():
    class Shortened(Counting):
        def __init__(self, last):
            super().__init__(length=7)
            self._length = last

    with VectorEnv(lambda: Shortened(7), 2, seed=7, workers="inline") as env:
        _run(env, 5, seed=1)
        state = env.state()
    with VectorEnv(lambda: Shortened(3), 2, seed=7, workers="inline") as env:
        assert env.load_state(state) == [0, 1]


def test_a_state_saved_before_the_first_reset_loads():
    with VectorEnv(_make("testing:chase"), 3, seed=7, workers="inline") as env:
        state = env.state()
        expected = _run(env, 3, seed=1)
    with VectorEnv(_make("testing:chase"), 3, seed=7, workers="inline") as env:
        assert env.load_state(state) == []
        assert _equal(_run(env, 3, seed=1), expected)


def test_the_state_is_numbers_bytes_and_arrays():
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list):
            return [plain(part) for part in value]
        return "data" if isinstance(value, bytes | np.ndarray) else value

    with VectorEnv(_make("dmc:cartpole_balance"), 2, seed=7, workers="inline") as env:
        env.reset()
        state = plain(env.state())
    assert json.loads(json.dumps(state)) == state


def test_a_state_of_other_environments_is_refused():
    with VectorEnv(_make("testing:chase"), 3, seed=7, workers="inline") as env:
        env.reset()
        state = env.state()
    with VectorEnv(_make("testing:chase"), 2, seed=7, workers="inline") as env:
        with pytest.raises(UserError, match="has 3 environments and this run 2"):
            env.load_state(state)
    with VectorEnv(_make("testing:chase_image"), 3, seed=7, workers="inline") as env:
        with pytest.raises(UserError, match=r"other observations \(image, position, target\)"):
            env.load_state(state)


@pytest.mark.parametrize("workers", ["inline", "process"])
def test_one_environment_is_rendered(workers):
    with VectorEnv(_make("testing:chase_image"), 3, seed=7, workers=workers) as env:
        image = env.reset()["image"]
        for i in range(3):
            assert (env.render(i) == image[i]).all()


def test_environments_with_different_spaces_are_refused_at_the_start():
    lengths = itertools.count(5)
    with pytest.raises(UserError, match=r"different spaces \(index\); a constructor returns the"):
        VectorEnv(lambda: Counting(next(lengths)), 2, seed=1, workers="inline")


def test_senseless_arguments_are_refused():
    for arguments in ({"number": 0}, {"seed": -1}, {"workers": "threads"}):
        with pytest.raises(UserError, match=next(iter(arguments))):
            VectorEnv(Counting, **({"number": 2, "seed": 1} | arguments))


def test_stepping_costs_microseconds():
    """The quickstart's two cores are shared with training: 50 µs per environment step at most."""
    import time

    with VectorEnv(_make("testing:counting"), 16, seed=1, workers="inline") as env:
        env.reset()
        action = {"action": np.zeros(16, np.int32)}
        best = np.inf
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(20):
                env.step(action)
            best = min(best, (time.perf_counter() - start) / (20 * 16))
    assert best < 50e-6
