"""The command that plants mistakes, on a tree of one function; and that its list does not rot."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dreamer_jax.errors import UserError
from experiments.mutate.__main__ import ROOT, main
from experiments.mutate.judge import KILLED, SURVIVED, UNJUDGED, Judge, Results, Verdict, judge
from experiments.mutate.mutants import MUTANTS
from experiments.mutate.plant import Mutant, copy_tree, digest, misfits, planted

SOURCE = """
def share(part, whole):
    if whole == 0:
        return 0.0
    return part / whole
"""
TESTS = """
import time
from dreamer_jax.toy import share

def test_share():
    assert share(1, 4) == 0.25

def test_share_is_waited_for():
    assert share(1, 4) == 0.25 or time.sleep(60)

def test_that_fails_anyway():
    assert share(1, 4) == 1
"""
FILE, TOLD = "dreamer_jax/toy.py", "tests/test_toy.py::test_share"


def toy(name: str, text: str, instead: str, *tests: str) -> Mutant:
    return Mutant(name, FILE, text, instead, f"the claim of {name}", tests or (TOLD,))


DIVIDES = toy("divides", "part / whole", "part * whole")
EMPTY = toy("empty", "return 0.0", "return 1.0")
BROKEN = toy("broken", "def share", "def shared")
RED = toy("red", "part / whole", "part", "tests/test_toy.py::test_that_fails_anyway")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for path, text in ((FILE, SOURCE), ("tests/test_toy.py", TESTS), ("pyproject.toml", "")):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_every_mistake_of_the_list_can_still_be_planted():
    mutants = [mutant for group in MUTANTS.values() for mutant in group]
    assert misfits(mutants, ROOT) == []
    assert len(mutants) >= 60 and min(map(len, MUTANTS.values())) > 5
    names = {name for name in MUTANTS} | {mutant.name for mutant in mutants}
    assert len(names) == len(MUTANTS) + len(mutants), "a name is of one mutant or one subject"
    for mutant in mutants:
        for test in mutant.tests:
            file, _, name = test.partition("::")
            assert not name or f"def {name}(" in (ROOT / file).read_text(), test


def test_a_text_that_is_not_there_once_is_named(tree):
    gone, twice = toy("gone", "part - whole", "0"), toy("twice", "whole", "part")
    nothing = toy("nothing", "part / whole", "part / whole", "tests/test_none.py")
    found = misfits([DIVIDES, DIVIDES, gone, twice, nothing], tree)
    assert found == [
        f"gone: its text occurs 0 times in {FILE}, not once",
        f"twice: its text occurs 3 times in {FILE}, not once",
        "nothing changes nothing",
        "nothing: there is no tests/test_none.py",
        "two mutants are called divides",
    ]
    with pytest.raises(UserError, match="gone: its text occurs 0 times"):
        main([], tree, {"toys": (DIVIDES, gone)})


def test_planting_changes_the_copy_for_a_while_and_never_the_tree(tree, tmp_path):
    (tree / ".git").mkdir()
    before = digest(tree)
    copy = copy_tree(tree, tmp_path / "copy")
    assert sorted(path.name for path in copy.iterdir()) == [
        "dreamer_jax",
        "pyproject.toml",
        "tests",
    ]
    with pytest.raises(KeyboardInterrupt), planted(DIVIDES, copy):
        assert "return part * whole" in (copy / FILE).read_text()
        raise KeyboardInterrupt
    assert (copy / FILE).read_text() == SOURCE
    assert digest(copy) == digest(tree) == before
    with planted(DIVIDES, copy):
        assert digest(copy) != before


def test_mutants_are_killed_survive_or_stay_unjudged(tree, tmp_path, capsys):
    report = tmp_path / "report.json"
    known = {"toys": (DIVIDES, EMPTY, BROKEN), "more": (RED,)}
    assert main([f"--json={report}", "--jobs=2"], tree, known) == 1
    lines = capsys.readouterr().out.splitlines()
    verdicts = {each["name"]: each for each in json.loads(report.read_text())}
    assert {name: each["verdict"] for name, each in verdicts.items()} == {
        "divides": KILLED,
        "empty": SURVIVED,
        "broken": UNJUDGED,  # a mistake that cannot be imported says nothing about tests
        "red": UNJUDGED,
    }
    assert verdicts["divides"]["by"].startswith(f"{TOLD} - assert")
    assert verdicts["red"]["by"].startswith("its tests fail without it: tests/test_toy.py::test_th")
    assert "1 killed, 1 survived, 2 unjudged" in lines
    assert lines[-3] == "survived: empty: the claim of empty"
    assert (tree / FILE).read_text() == SOURCE
    assert main(["divides"], tree, known) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 killed"


def test_a_mistake_that_makes_tests_hang_is_noticed(tree, tmp_path):
    hangs = toy("hangs", "part / whole", "part", "tests/test_toy.py::test_share_is_waited_for")
    (verdict,) = judge([hangs], tree, tmp_path / "out", 1, print, longest=4)
    assert verdict.verdict == KILLED and verdict.by == "no end after 4 s"


def test_the_same_folder_continues_unless_the_tree_has_changed(tree, tmp_path, monkeypatch):
    out, asked = tmp_path / "out", []
    monkeypatch.setattr(Judge, "_test", lambda _, tests: asked.append(tests) or (0, "passed"))
    results = Results(out / "verdicts.jsonl", digest(tree))
    results.add(Verdict("divides", KILLED, TOLD, 1.0))
    with (out / "verdicts.jsonl").open("a") as file:
        file.write('{"name": "empt')  # a stop cut it
    said = []
    verdicts = judge([DIVIDES, EMPTY], tree, out, 1, said.append)
    assert [each.verdict for each in verdicts] == [KILLED, SURVIVED]
    assert len(said) == 1 and len(asked) == 2, "the tests without it, and with it"
    judge([DIVIDES, EMPTY], tree, out, 1, said.append)
    assert len(said) == 1
    (tree / FILE).write_text(SOURCE + "\n")
    judge([DIVIDES, EMPTY], tree, out, 1, said.append)
    assert len(said) == 3


def test_an_interrupt_keeps_what_is_judged_and_leaves_no_tests_behind(tree, tmp_path, monkeypatch):
    hangs = toy("hangs", "part / whole", "part", "tests/test_toy.py::test_share_is_waited_for")
    test, asked = Judge._test, []

    def watched(self: Judge, tests: tuple[str, ...]) -> tuple[int, str]:
        asked.append(tests)
        if len(asked) == 2:  # with the mistake; they would hang
            threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGINT]).start()
        return test(self, tests)

    monkeypatch.setattr(Judge, "_test", watched)
    since = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        judge([hangs], tree, tmp_path / "out", 1, print, longest=100)
    assert time.monotonic() - since < 50
    assert len((tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()) == 1


def test_names_and_subjects_choose(tree, capsys):
    known = {"toys": (DIVIDES, EMPTY), "more": (RED,)}
    assert main(["more", "empty", "--list"], tree, known) == 0
    assert capsys.readouterr().out.splitlines() == [
        "toys",
        f"  empty ({FILE}): the claim of empty",
        "more",
        f"  red ({FILE}): the claim of red",
    ]
    with pytest.raises(UserError, match="no mutant 'divide'; did you mean divides"):
        main(["divide"], tree, known)
