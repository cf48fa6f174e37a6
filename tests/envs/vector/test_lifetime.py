"""What may end a worker process: its parent, and not a signal that reaches a whole group."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from dreamer_jax.envs.faults import EnvironmentFault, FaultPolicy
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.envs.vector.worker import Worker

NUMBER = 3
ZEROS = {"action": np.zeros(NUMBER, np.int32)}
MAKE = functools.partial(make_env, "testing:counting", length=11)

SIMULATOR = """
import os
import signal
import subprocess
import sys
import time

import numpy as np

from dreamer_jax.envs.testing.counting import Counting


class Starting(Counting):
    '''Starts a program at every step and ends it; its exit code is the reward.'''

    def step(self, action):
        record = super().step(action)
        code = "import time; print(flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as program:
            program.stdout.readline()
            program.terminate()
            record["reward"] = np.float32(program.wait(10))
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(told, b".")
            time.sleep(60)
            os._exit(0)
        os.read(heard, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
        return record
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_to_the_whole_group_cost_no_episode(number):
    """Symptom: `timeout` and `docker stop` lost all open episodes. Cause: workers died of it."""
    with VectorEnv(MAKE, NUMBER, seed=7, workers="process") as env:
        env.reset()
        for _ in range(3):
            for worker in env._group._workers:
                os.kill(worker.process.pid, number)
            env.step(ZEROS)
        assert env.restarts == 0
        assert env.step(ZEROS)["index"].tolist() == [4, 4, 4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_worker_starts_is_survived(number):
    worker = Worker(pickle.dumps(MAKE), 0, 2)
    try:
        # Its interpreter has hardly begun.
        os.kill(worker.process.pid, number)
        assert worker.receive().repeat == 1
    finally:
        worker.close()


def test_the_callers_own_signals_are_what_they_were_before():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    Worker(pickle.dumps(MAKE), 0, 1).close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_programs_that_a_simulator_starts_can_still_be_ended(tmp_path, monkeypatch):
    """A signal that a process ignores is ignored by what it starts, too."""
    (tmp_path / "my_starting.py").write_text(SIMULATOR)
    monkeypatch.syspath_prepend(tmp_path)
    make = functools.partial(make_env, "my_starting:Starting")
    with VectorEnv(make, 1, seed=7, workers="process") as env:
        env.reset()
        assert env.step({"action": np.zeros(1, np.int32)})["reward"] == -signal.SIGTERM
    sys.modules.pop("my_starting", None)


PARENT = """
import functools, os, sys, threading
import numpy as np
from dreamer_jax.envs.faults import FaultPolicy
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.vector.vector_env import VectorEnv

state = sys.argv[1]
every = 1 if state == "busy" else 2**31
task = functools.partial(make_env, "testing:flaky", fault="hang", every=every)
env = VectorEnv(task, 2, seed=7, workers="process", faults=FaultPolicy(timeout=600.0))
env.reset()
zeros = {"action": np.zeros(2, np.int32)}
env.step(zeros)
if state == "copied" and os.fork() == 0:
    # Holds copies of all pipes, so that no end of file is ever seen.
    threading.Event().wait(60)
    os._exit(0)
print(*(worker.process.pid for worker in env._group._workers), flush=True)
if state == "busy":
    env.step(zeros)
threading.Event().wait()
"""


def _runs(pid):
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


@pytest.mark.parametrize("state", ["idle", "busy", "copied"])
def test_workers_end_with_a_parent_that_is_killed(state):
    """Symptom: a worker in a simulator that hung outlived its run. Cause: it read no pipe."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PARENT), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2 or os.cpu_count() == 1
        assert all(map(_runs, workers))
        if state == "busy":
            time.sleep(0.5)  # until they are in the step that never ends
        parent.kill()
        deadline = time.monotonic() + 20
        while any(map(_runs, workers)) and time.monotonic() < deadline:
            time.sleep(0.1)
        left = [pid for pid in workers if _runs(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left


class Dying(Counting):
    """Fails at every second step."""

    def step(self, action):
        if self._index == 1:
            raise OSError("the simulator got the signal, too")
        return super().step(action)


def test_failures_after_a_request_to_stop_are_not_charged():
    """Symptom: each stop by a signal used up restarts. Cause: nobody knew that it was a stop."""
    said, stopping = [], [False]
    policy = FaultPolicy(restarts=NUMBER)
    with VectorEnv(Dying, NUMBER, seed=7, workers="inline", faults=policy, warn=said.append) as env:
        env.forgive_failures(lambda: stopping[0])
        env.reset()
        for _ in range(2):
            env.step(ZEROS)
        assert env.restarts == NUMBER
        stopping[0] = True
        for _ in range(6):
            env.step(ZEROS)
        assert env.restarts == NUMBER == env.state()["restarts"]
        assert said[-1].endswith("next one begun (not counted: a stop was asked for)")
        stopping[0] = False
        with pytest.raises(EnvironmentFault, match="restarts that config"):
            for _ in range(2):
                env.step(ZEROS)


def test_a_stop_forgives_no_endless_failing():
    class Dead(Counting):
        def reset(self, seed):  # noqa: ARG002
            raise OSError("gone")

    with VectorEnv(Dead, 1, seed=7, workers="inline") as env:
        env.forgive_failures(lambda: True)
        with pytest.raises(EnvironmentFault, match="gone"):
            env.reset()
