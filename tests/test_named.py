"""Names in a config: what they stand for, what a wrong one is told, and which name code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from dreamer_jax.config import load_config, presets
from dreamer_jax.errors import UserError
from dreamer_jax.named import CODE_OPTIONS, code_named, find_named

KNOWN = {"rssm": dict, "other": list}

OWN = """
NUMBER = 3

def make_mine():
    return 7
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_part.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import package_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own")
def test_a_name_is_one_of_ours_or_an_import_path():
    assert find_named("dynamics", "rssm", KNOWN) is dict
    assert find_named("dynamics", "own_part:make_mine", KNOWN)() == 7


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rsm", "no dynamics 'rsm'; did you mean 'rssm'? known are other, rssm, and module:att"),
        ("xyz", "no dynamics 'xyz'; known are other, rssm, and module:attribute of your own"),
        ("", "no dynamics ''; known are"),
        ("nowhere:make", "dynamics: there is no module 'nowhere' to find 'make' in"),
        ("nowhere.at.all:make", "dynamics: there is no module 'nowhere.at.all' to find 'make'"),
        (":make", "dynamics: '' is not the name of a module"),
        ("own_part:make_min", "has no 'make_min' to call; did you mean 'make_mine'?"),
        ("own_part:NUMBER", "module 'own_part' has no 'NUMBER' to call"),
        ("own_part:", "module 'own_part' has no '' to call"),
    ],
)
def test_a_wrong_name_is_told_what_there_is(name, message):
    with pytest.raises(UserError, match=re.escape(message)):
        find_named("dynamics", name, KNOWN)


@pytest.mark.usefixtures("own")
def test_a_package_that_is_missing_inside_ones_own_module_is_said_as_it_is():
    with pytest.raises(ModuleNotFoundError, match="package_that_is_missing"):
        find_named("dynamics", "own_broken:make", KNOWN)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("option", CODE_OPTIONS)
def test_import_paths_are_found_in_every_option_that_names_code(option, plain):
    """A ConfigDict is no Mapping: all of its sections were taken for missing."""
    config = ConfigDict(load_config("default").to_dict())
    *path, last = option.split(".")
    holder = config
    for name in path:
        holder = holder[name]
    named = {"one": "rssm", "two": "a.b:c"} if not isinstance(holder[last], str) else "x, a.b:c ,y"
    with config.ignore_type():
        holder[last] = named
    assert list(code_named(config.to_dict() if plain else config)) == [(option, "a.b:c")]


@pytest.mark.parametrize("name", presets())
def test_no_preset_names_code(name):
    assert list(code_named(load_config(name))) == []


@pytest.mark.parametrize("config", [{}, {"agent": 3}, {"agent": {"heads": None}}, {"log": []}])
def test_what_is_missing_names_nothing(config):
    """Configs of earlier versions lack options."""
    assert list(code_named(config)) == []
