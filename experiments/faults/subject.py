"""A run that is hurt: its directory, the tape beside it, and the one command that continues it.

The run is tiny and saves after every step of its environments, so that every phase comes soon. How
its environments and processes are arranged is its setup.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dreamer_jax.errors import RESUMABLE
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.rundir import RunDir
from experiments.faults.judge import Verdict, judge
from experiments.faults.launcher import NONE
from experiments.faults.taped import VARIABLE, read_tape

ROOT = Path(__file__).resolve().parents[2]
KILLED = -signal.SIGKILL
PATIENCE = 120  # seconds that a process may live on after the one beside it has ended
_LAYERS = ("encoder", "decoder", "actor", "critic", "prior", "posterior")
OPTIONS = {
    "task": "experiments.faults.taped:make",
    "size": "16/8/3/2/8",
    "envs": 3,
    "train_ratio": 1.0,
    "log.report_every": 0,
    "checkpoint.seconds": 0.0,
    "agent.groups": 3,
    "agent.blocks": 4,
    "agent.bins": 11,
    "agent.imag_horizon": 3,
    **{f"agent.{name}_layers": 1 for name in _LAYERS},
}


class Setup(NamedTuple):
    """How environments and processes of a run are arranged."""

    processes: int
    options: dict[str, Any]


SETUPS = {
    "inline": Setup(1, {"env_workers": "inline"}),
    "workers": Setup(1, {"env_workers": "process"}),
    "two": Setup(2, {"env_workers": "inline", "envs": 4}),
    "two-workers": Setup(2, {"env_workers": "process", "envs": 4}),
}


class End(NamedTuple):
    """A way to end a run: whom what signals reach, and the exit codes that are promised."""

    target: str  # see `launcher`; `told`: every process of the run, but no worker
    signals: str
    code: int  # of the process in which the phase came
    others: int  # of the other processes
    cuts: bool = False  # an episode may end early, as the death of its simulator makes it


ENDS = {
    "kill": End("self", "SIGKILL", KILLED, RESUMABLE),
    "group-kill": End("group", "SIGKILL", KILLED, KILLED),
    "stop": End("self", "SIGTERM", RESUMABLE, RESUMABLE),
    "stop-all": End("told", "SIGTERM", RESUMABLE, RESUMABLE),
    "group-stop": End("group", "SIGTERM", RESUMABLE, RESUMABLE),
    "worker": End("worker", "SIGKILL", RESUMABLE, RESUMABLE, cuts=True),
}
UNHURT = End("self", "SIGKILL", 0, 0)


class Ended(NamedTuple):
    """The end of a run."""

    code: int  # exit code of the process in which the phase came
    others: list[int]  # of the other processes
    seconds: float  # since the signal, or since the start if there was no signal
    output: str

    def is_as(self, end: End) -> bool:
        """Return whether all exit codes are those that are promised."""
        return self.code == end.code and {*self.others} <= {end.others}


class Subject:
    """A run directory, the tape beside it, and the one command that starts and continues it.

    Args:
        folder: Where run directory, tape and compiled programs go.
        setup: Name of the setup.
        cold: Whether a run that is to end while it compiles must compile, without the cache of
            compiled programs, which would leave no time to end it.
        options: Overrides of the config.
    """

    def __init__(
        self, folder: Path, setup: str = "inline", cold: bool = True, **options: Any
    ) -> None:
        self.cold, self.processes = cold, SETUPS[setup].processes
        self.run, self.tape = RunDir(folder / "run"), folder / "tape.txt"
        self._since = 0  # lines of the tape before the newest start
        options = OPTIONS | SETUPS[setup].options | options
        overrides = [f"--config.{key}={value}" for key, value in options.items()]
        self._command = ["train", "--config=debug", f"--logdir={self.run.root}", *overrides]
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, phase: str = NONE, count: int = 0, end: End = UNHURT, victim: int = 0) -> Ended:
        """Run the command until it ends by itself or by what a phase brings; see `launcher`.

        Args:
            phase: In which it is to end.
            count: At which occurrence of the phase.
            end: What is to happen then.
            victim: The process in which the phase is to come.
        """
        self._since = len(read_tape(self.tape))
        env, since = self._environment(phase), time.perf_counter()
        output: list[str] = []
        with (self.run.root.parent / "others.txt").open("w") as beside:
            crew = self._launch(phase, count, end, victim, env, beside)
            stdout = crew[victim].stdout
            assert stdout is not None
            try:
                for line in stdout:
                    output.append(line)
                    if line.startswith("phase: "):
                        since = time.perf_counter()
                        if end.target == "told":
                            for process in crew:
                                process.send_signal(signal.Signals[end.signals])
                codes = [process.wait(PATIENCE) for process in crew]
            finally:
                for process in crew:
                    process.kill()
                    process.wait()
                stdout.close()
                with suppress(ProcessLookupError):  # a worker that has outlived its parent
                    os.killpg(crew[0].pid, signal.SIGKILL)
        code, seconds = codes.pop(victim), time.perf_counter() - since
        return Ended(code, codes, seconds, "".join(output) + self._said_beside())

    def judge(self, cuts: bool = False) -> Verdict:
        """Compare the newest checkpoint with the tape; `cuts` as in `judge.compare`."""
        return judge(self.run.root, read_tape(self.tape), cuts, self._since)

    def differences(self, other: Subject) -> int:
        """Return how many arrays of the newest checkpoints differ, plus one if the metrics do."""
        unlike, arrays = 0, 0
        for process in range(self.processes):
            found = [
                Checkpointer(run.part(process).checkpoints, keep=1).load()
                for run in (self.run, other.run)
            ]
            one, two = ({} if each is None else each.arrays for each in found)
            same = [k for k in one if k in two and _same(one[k], two[k])]
            unlike, arrays = unlike + len({*one, *two}) - len(same), arrays + len(one)
        texts = {run.metrics.read_text() for run in (self.run, other.run)}
        return unlike + (len(texts) != 1 or not arrays)

    def _environment(self, phase: str) -> dict[str, str]:
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(self.run.root.parents[1] / "jax"))
        return {
            **os.environ,
            VARIABLE: str(self.tape),
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_ENABLE_COMPILATION_CACHE": str(phase != "compiling" or not self.cold),
        }

    def _launch(
        self, phase: str, count: int, end: End, victim: int, env: dict[str, str], beside: IO[str]
    ) -> list[subprocess.Popen[str]]:
        """Start all processes of the run in one process group."""
        crew: list[subprocess.Popen[str]] = []
        address = f"127.0.0.1:{_free_port()}"
        for index in range(self.processes):
            fate = [phase if index == victim else NONE, str(count), end.target, end.signals]
            together = [f"--coordinator={address}", f"--processes={self.processes}"]
            together += [f"--process={index}", "--patience=30"]
            launch = [sys.executable, "-m", "experiments.faults.launcher", *fate, *self._command]
            crew.append(
                subprocess.Popen(
                    launch + together * (self.processes > 1),
                    env=env,
                    stdout=subprocess.PIPE if index == victim else beside,
                    stderr=subprocess.STDOUT,
                    text=True,
                    process_group=crew[0].pid if crew else 0,
                )
            )
        return crew

    def _said_beside(self) -> str:
        said = (self.run.root.parent / "others.txt").read_text()
        return f"\nThe other process:\n{said}" if said else ""


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
