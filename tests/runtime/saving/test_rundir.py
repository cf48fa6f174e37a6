"""A run directory belongs to one config; what may change is listed, all else is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_run import disk

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.rundir import (
    FREE,
    RunDir,
    check_config,
    claim,
    differences,
    read_config,
)

CONFIG = {
    "steps": 5,
    "env": {"size": (48, 64), "name": None},
    "log": {"every": 3},
    "checkpoint": {"keep": 1},
    "evaluation": {"episodes": 2},
}


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_differences_name_every_leaf():
    old = {"a": 1, "b": {"c": 2, "d": 3}, "gone": 4, "e": {"f": 5}}
    new = {"a": 1, "b": {"c": 7, "d": 3}, "new": None, "e": 6}
    assert list(differences(old, new)) == [
        "b.c: 2 → 7",
        "e: {'f': 5} → 6",
        "gone: 4 → None",
    ]
    assert list(differences(old, old)) == []


def test_claimed_config_reads_back_and_may_be_claimed_again(rundir):
    claim(rundir, CONFIG)
    read = {**CONFIG, "env": {"size": [48, 64], "name": None}}
    assert read_config(rundir) == read
    claim(rundir, CONFIG)
    assert [path.name for path in rundir.root.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "changed",
    [{"steps": 6}, {"log": {"every": 4}}, {"checkpoint": {}}, {"evaluation": {"episodes": 0}}],
)
def test_what_changes_no_update_may_change(rundir, changed):
    claim(rundir, CONFIG)
    assert next(iter(changed)) in FREE
    claim(rundir, CONFIG | changed)
    assert read_config(rundir)[next(iter(changed))] == next(iter(changed.values()))


def test_anything_else_is_refused_by_name_and_the_file_stays(rundir):
    claim(rundir, CONFIG)
    before = disk(rundir.root)
    other = CONFIG | {"steps": 6, "env": {"size": (48, 32), "name": None}, "extra": 1}
    for refuse in (check_config, claim):
        with pytest.raises(UserError, match=r"env\.size: \[48, 64\] → \[48, 32\]; extra: None → 1"):
            refuse(rundir, other)
    assert disk(rundir.root) == before


def test_options_named_like_free_ones_are_not_free(rundir):
    """`log` in front made `logits` free as well."""
    claim(rundir, CONFIG | {"logits": 1})
    with pytest.raises(UserError, match="logits: 1 → 2"):
        claim(rundir, CONFIG | {"logits": 2})


def test_checking_writes_nothing(tmp_path):
    check_config(RunDir(tmp_path / "new"), CONFIG)
    assert disk(tmp_path) == {}


def test_interrupted_write_leaves_the_old_config(rundir, monkeypatch):
    claim(rundir, CONFIG)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("dreamer_jax.runtime.saving.rundir.os.fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*config\.json: no space .*make room"):
        claim(rundir, CONFIG | {"steps": 7})
    assert json.loads(rundir.config.read_text())["steps"] == 5


def test_missing_or_broken_config_is_said(rundir):
    with pytest.raises(UserError, match=r"holds no run: there is no config.json; check --logdir"):
        read_config(rundir)
    rundir.config.write_text('{"steps": ')
    with pytest.raises(UserError, match="is not JSON; restore it or start a new run"):
        read_config(rundir)
