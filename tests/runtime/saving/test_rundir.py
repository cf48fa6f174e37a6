"""A run directory belongs to one config; what may change is listed, all else is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import disk

from dreamer_jax.config import load_config
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.rundir import (
    FREE,
    RunDir,
    check_config,
    claim,
    differences,
    read_config,
    read_spaces,
)
from dreamer_jax.types import Space, Spaces

CONFIG = load_config("debug").to_dict() | {"env": {"size": (48, 64), "name": None}, "steps": 5}
SPACES = Spaces(
    obs={
        "camera": Space(np.dtype(np.uint8), (48, 64, 3)),
        "nested/speed": Space(np.dtype(np.float32), (7,)),
        "token": Space(np.dtype(np.int32), (), 11),
    },
    action={"keys": Space(np.dtype(bool), (5,), 2), "steer": Space(np.dtype(np.float32), (2,))},
)


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
    """JSON has no tuples: a constructor was given lists by whoever loaded its run."""
    claim(rundir, CONFIG, SPACES)
    assert read_config(rundir) == CONFIG and CONFIG["env"]["size"] == (48, 64)
    claim(rundir, CONFIG, SPACES)
    names = sorted(path.name for path in rundir.root.iterdir())
    assert names == ["checkpoints", "config.json", "spaces.json"]


def test_a_list_and_a_tuple_are_the_same_config(rundir):
    claim(rundir, CONFIG, SPACES)
    check_config(rundir, CONFIG | {"env": {"size": [48, 64], "name": None}})


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 6},
        {"log": CONFIG["log"] | {"every": 4}},
        {"checkpoint": {"seconds": 7.0, "keep": 3}},
        {"evaluation": CONFIG["evaluation"] | {"episodes": 7}},
    ],
)
def test_what_changes_no_update_may_change(rundir, changed):
    claim(rundir, CONFIG, SPACES)
    assert next(iter(changed)) in FREE
    claim(rundir, CONFIG | changed, SPACES)
    assert read_config(rundir)[next(iter(changed))] == next(iter(changed.values()))


def test_anything_else_is_refused_by_name_and_the_file_stays(rundir):
    claim(rundir, CONFIG, SPACES)
    before = disk(rundir.root)
    other = CONFIG | {"steps": 6, "env": {"size": (48, 32), "name": None}, "extra": 1}
    text = r"env\.size: \(48, 64\) → \(48, 32\); extra: None → 1"
    with pytest.raises(UserError, match=text):
        check_config(rundir, other)
    with pytest.raises(UserError, match=text):
        claim(rundir, other, Spaces({}, {}))
    assert disk(rundir.root) == before


def test_options_named_like_free_ones_are_not_free(rundir):
    """`log` in front made `logits` free as well."""
    claim(rundir, CONFIG, SPACES)
    with pytest.raises(UserError, match="logits: None → 2"):
        claim(rundir, CONFIG | {"logits": 2}, SPACES)


def test_checking_writes_nothing(tmp_path):
    check_config(RunDir(tmp_path / "new"), CONFIG)
    assert disk(tmp_path) == {}


def test_interrupted_write_leaves_the_old_config_and_spaces(rundir, monkeypatch):
    """Also where the disk has not taken what was written, so it is asked before the rename."""
    claim(rundir, CONFIG, SPACES)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("dreamer_jax.runtime.saving.rundir.os.fsync", full)
    with pytest.raises(UserError, match=r"cannot write in .*: no space .*make room"):
        claim(rundir, CONFIG | {"steps": 7}, SPACES)
    assert json.loads(rundir.config.read_text())["steps"] == 5
    assert read_spaces(rundir) == SPACES
    assert len(list(rundir.root.iterdir())) == 3


def test_missing_or_broken_config_is_said(rundir):
    with pytest.raises(UserError, match=r"holds no run: there is no config.json; check --logdir"):
        read_config(rundir)
    rundir.config.write_text('{"steps": ')
    with pytest.raises(UserError, match="is not JSON; restore it or start a new run"):
        read_config(rundir)


def replaced(dotted: str, value: object) -> dict[str, Any]:
    """Return the config with one option replaced, or removed where the value is `...`."""
    config = json.loads(json.dumps(CONFIG))
    *path, last = dotted.split(".")
    section = config
    for name in path:
        section = section[name]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return config


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({}, r"the config lacks task and \d+ other options"),
        (replaced("agent.heads", ...), r"the config lacks agent\.heads"),
        (replaced("agent.unimix", "x"), r"config\.agent\.unimix='x'; it must be a number"),
        (replaced("agent", []), "the config lacks agent"),
        (replaced("envs", None), r"config\.envs=None; it must be a whole number"),
        (replaced("steps", 5.0), r"config\.steps=5\.0; it must be a whole number"),
        (replaced("batch_size", 0), r"config\.batch_size=0; it must be at least 1"),
        (replaced("train_ratio", float("nan")), r"config\.train_ratio=nan; it must be above 0"),
        (replaced("env", {"a.b": 3}), r"config\.env has an option 'a.b'"),
        (replaced("added", 3), r"there is no option config\.added"),
        (replaced("size", "none"), "no size 'none'"),
    ],
)
def test_config_that_no_run_has_written_is_one_line(rundir, content, text):
    """A KeyError, a TypeError or a traceback out of JAX, wherever the option was first read."""
    rundir.config.write_text(json.dumps(content))
    text = rf"config\.json is damaged or of another version \({text}.*\); restore it or start"
    for refuse in (read_config, lambda each: check_config(each, CONFIG)):
        with pytest.raises(UserError, match=text) as refused:
            refuse(rundir)
        assert "\n" not in str(refused.value)


def test_config_that_cannot_be_read_is_said(rundir):
    rundir.config.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not JSON; restore it"):
        read_config(rundir)
    rundir.config.write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not JSON; restore it"):
        read_config(rundir)
    rundir.config.write_text('{"env": ' + "[" * 900 + "]" * 900 + "}")
    with pytest.raises(UserError, match=r"is not JSON|is damaged"):
        read_config(rundir)


def test_spaces_read_back_as_they_were_claimed(rundir):
    """Dtypes, shapes and classes, and the order of the keys, which that of parameters follows."""
    claim(rundir, CONFIG, SPACES)
    found = read_spaces(rundir)
    assert found == SPACES
    for name in Spaces._fields:
        assert list(getattr(found, name)) == list(getattr(SPACES, name))
        for space in getattr(found, name).values():
            assert isinstance(space.dtype, np.dtype) and isinstance(space.shape, tuple)
    assert found.obs["camera"].is_image and found.obs["token"].discrete


def test_missing_or_broken_spaces_are_said(rundir):
    with pytest.raises(UserError, match=r"lacks spaces.json; start the run once more to write it"):
        read_spaces(rundir)
    rundir.spaces.write_text('{"obs": ')
    with pytest.raises(UserError, match=r"spaces.json is not JSON; restore it"):
        read_spaces(rundir)
    rundir.spaces.write_text("[]")
    with pytest.raises(UserError, match=r"spaces\.json holds no options; restore it"):
        read_spaces(rundir)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "object"},
        {"dtype": "U7"},
        {"dtype": "no such"},
        {"dtype": None},
        {"dtype": [["x", "f4"]]},
        {"shape": 3},
        {"shape": None},
        {"shape": ["3"]},
        {"shape": [-3]},
        {"shape": [2.0]},
        {"shape": [2**31]},
        {"shape": [True]},
        {"shape": {"0": 3}},
        {"shape": [2**20, 2**20]},
        {"dtype": ">f4"},
        {"dtype": "longdouble"},
        {"dtype": "f2,f4"},
        {"classes": -1},
        {"classes": "two"},
        {"classes": [2]},
    ],
)
def test_what_describes_no_space_is_refused(rundir, change):
    claim(rundir, CONFIG, SPACES)
    table = json.loads(rundir.spaces.read_text())
    table["obs"]["token"] |= change
    rundir.spaces.write_text(json.dumps(table))
    with pytest.raises(UserError, match=r"does not describe spaces .*; restore it"):
        read_spaces(rundir)


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"obs": {}},
        {"obs": [], "action": []},
        {"obs": {"x": 3}, "action": {}},
        {"obs": {"x": {}}, "action": {}},
        {"obs": {"x": {"dtype": "bool", "shape": []}}, "action": {}},
    ],
)
def test_tables_of_another_form_are_refused(rundir, table):
    rundir.spaces.write_text(json.dumps(table))
    with pytest.raises(UserError, match=r"does not describe spaces .*; restore it"):
        read_spaces(rundir)
