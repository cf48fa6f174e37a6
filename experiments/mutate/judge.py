"""Runs the tests of mutants, in copies of the tree, several at a time, and remembers verdicts."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dreamer_jax.files import replacing
from experiments.mutate.plant import Mutant, copy_tree, digest, planted

KILLED, SURVIVED, UNJUDGED = "killed", "survived", "unjudged"
# Seconds of one test, unless it asks for more, and of all tests of a mutant: one that hangs is
# noticed by that.
LONGEST_TEST, LONGEST = 300, 900
_GREEN, _RED = 0, 1  # exit codes of pytest; others mean that no test gave a verdict


class Verdict(NamedTuple):
    """What became of a mutant."""

    name: str
    verdict: str  # KILLED, SURVIVED or UNJUDGED
    by: str  # the first test that failed, or why there is no verdict
    seconds: float


class Results:
    """Verdicts of one tree in a file, one JSON object per line, so that a stop loses none.

    Args:
        path: The file; verdicts of another tree are forgotten.
        tree: `digest` of the tree.
    """

    def __init__(self, path: Path, tree: str) -> None:
        self._path, self.verdicts = path, dict[str, Verdict]()
        head = json.dumps({"tree": tree})
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines[1:] if lines[:1] == [head] else []:
            if line.endswith("}"):  # a stop may have cut the last one
                verdict = Verdict(**json.loads(line))
                self.verdicts[verdict.name] = verdict
        told = [head, *(json.dumps(each._asdict()) for each in self.verdicts.values())]
        with replacing(path) as temp:
            temp.write_text("\n".join(told) + "\n")

    def add(self, verdict: Verdict) -> None:
        """Keep a verdict."""
        self.verdicts[verdict.name] = verdict
        with self._path.open("a") as file:
            file.write(json.dumps(verdict._asdict()) + "\n")


def judge(
    mutants: Sequence[Mutant],
    root: Path,
    out: Path,
    jobs: int,
    say: Callable[[str], None],
    longest: float = LONGEST,
) -> list[Verdict]:
    """Judge mutants; return their verdicts in their order.

    Args:
        mutants: Those of them that `out` has a verdict on are not judged again.
        root: The tree, which stays as it is.
        out: Folder of the verdicts.
        jobs: Processes that run tests at a time, each in a copy of its own.
        say: Is told a line for each mutant.
        longest: Seconds of the tests of one mutant; they count as failed after that.
    """
    results = Results(out / "verdicts.jsonl", digest(root))
    # Of each set of tests it is seen first that they pass without a mistake.
    sets: dict[tuple[str, ...], list[Mutant]] = {}
    for mutant in mutants:
        if mutant.name not in results.verdicts:
            sets.setdefault(mutant.tests, []).append(mutant)
    waiting: queue.SimpleQueue[list[Mutant]] = queue.SimpleQueue()
    for group in sets.values():
        waiting.put(group)
    lock = threading.Lock()

    def tell(verdict: Verdict) -> None:
        with lock:
            results.add(verdict)
            say(f"{verdict.verdict:8} {verdict.name} ({verdict.seconds:.0f} s): {verdict.by}")

    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        crew = [Judge(root, Path(folder) / str(i), longest, tell) for i in range(jobs)]
        with ThreadPoolExecutor(jobs) as pool:
            done = [pool.submit(each.work, waiting) for each in crew]
            try:
                for each in done:
                    each.result()
            finally:  # nothing is left to stop unless the program was interrupted
                for member in crew:
                    member.stop()
    return [results.verdicts[mutant.name] for mutant in mutants if mutant.name in results.verdicts]


class Judge:
    """One process at a time that runs tests, in one copy of the tree.

    Args:
        root: The tree.
        folder: Does not exist yet; holds the copy, and what JAX has compiled.
        longest: Seconds after which tests count as failed.
        tell: Is told every verdict.
    """

    def __init__(
        self, root: Path, folder: Path, longest: float, tell: Callable[[Verdict], None]
    ) -> None:
        self._tree, self._programs = copy_tree(root, folder / "tree"), folder / "programs"
        self._longest, self._tell = longest, tell
        self._running: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()

    def work(self, waiting: queue.SimpleQueue[list[Mutant]]) -> None:
        """Judge sets of mutants with the same tests until none is left."""
        while not self._stopped.is_set():
            try:
                mutants = waiting.get_nowait()
            except queue.Empty:
                return
            self._judge_set(mutants)

    def stop(self) -> None:
        """End soon; what is under way gets no verdict."""
        self._stopped.set()
        if self._running is not None:
            self._running.kill()

    def _judge_set(self, mutants: list[Mutant]) -> None:
        code, last = self._test(mutants[0].tests)
        for mutant in mutants:
            if self._stopped.is_set():
                return
            since = time.monotonic()
            if code != _GREEN:
                verdict, by = UNJUDGED, f"its tests fail without it: {last}"
            else:
                with planted(mutant, self._tree):
                    found, by = self._test(mutant.tests)
                verdict = {_GREEN: SURVIVED, _RED: KILLED}.get(found, UNJUDGED)
                by = by if verdict != SURVIVED else mutant.claim
            if not self._stopped.is_set():
                self._tell(Verdict(mutant.name, verdict, by, time.monotonic() - since))

    def _test(self, tests: Sequence[str]) -> tuple[int, str]:
        """Run tests until the first fails; return pytest's exit code and the line that tells."""
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "--tb=no",
            "-p",
            "no:cacheprovider",
        ]
        env = {
            **os.environ,
            "PYTHONPATH": str(self._tree),
            "JAX_COMPILATION_CACHE_DIR": str(self._programs),
            "COLUMNS": "200",  # pytest cuts the reason of a failure to the width of a terminal
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # every start would compile the copy again
        with subprocess.Popen(
            [*command, "-o", f"timeout={LONGEST_TEST}", "-m", "", *tests],
            cwd=self._tree,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            self._running = process
            if self._stopped.is_set():
                process.kill()
            try:
                output = process.communicate(timeout=self._longest)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                return _RED, f"no end after {self._longest:.0f} s"
            finally:
                self._running = None
        lines = [line for line in output.splitlines() if line.strip()]
        told = (
            [x for x in lines if x.startswith(("FAILED ", "ERROR "))] or lines[-1:] or ["nothing"]
        )
        return process.returncode, told[0].removeprefix("FAILED ")
