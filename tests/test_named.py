"""Code by its name: found, not found, and told apart from names that run nobody's code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from dreamer_jax.config import load_config
from dreamer_jax.errors import UserError
from dreamer_jax.named import CODE_OPTIONS, code_named, find_named, import_path

KNOWN = {"rssm": 1, "transformer": 2}


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module that a user wrote."""
    folder = tmp_path / "own_parts"
    folder.mkdir()
    (folder / "__init__.py").touch()
    text = "def make_world(): return 7\nclass Widths: pass\nVERSION = 3\n"
    (folder / "worlds.py").write_text(text)
    (folder / "needy.py").write_text("import a_package_that_is_not_there\n")
    (folder / "broken.py").write_text("raise ValueError('on purpose')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_parts"
    for name in [each for each in sys.modules if each.split(".")[0] == "own_parts"]:
        del sys.modules[name]


def test_a_known_name_is_looked_up() -> None:
    assert find_named("dynamics", "transformer", KNOWN) == 2


def test_a_path_is_imported(own_module: str) -> None:
    assert find_named("dynamics", f"{own_module}.worlds:make_world", KNOWN)() == 7
    assert import_path("dynamics", f"{own_module}.worlds", "Widths").__name__ == "Widths"


def test_a_known_name_is_preferred_to_a_path() -> None:
    assert find_named("dynamics", "os:getcwd", {"os:getcwd": 5}) == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "rsmm",
            "no dynamics 'rsmm'; did you mean 'rssm'? known are rssm, transformer, "
            "and module:attribute of your own",
        ),
        ("zzz", "no dynamics 'zzz'; known are rssm, transformer, and module:attribute of your own"),
        ("", "no dynamics ''; known are rssm, transformer, and module:attribute of your own"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_and_all_that_are_known(
    name: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        find_named("dynamics", name, KNOWN)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_partz:make", "dynamics: there is no module 'own_partz' to find 'make' in"),
        (
            "own_parts.wrlds:make",
            "dynamics: there is no module 'own_parts.wrlds' to find 'make' in",
        ),
        (
            "own_parts.worlds:make_word",
            "dynamics: module 'own_parts.worlds' has no 'make_word' to call; "
            "did you mean 'make_world'?",
        ),
        ("own_parts.worlds:qqq", "dynamics: module 'own_parts.worlds' has no 'qqq' to call"),
        ("own_parts.worlds:", "dynamics: module 'own_parts.worlds' has no '' to call"),
        # There is such an attribute, but a number makes nothing.
        (
            "own_parts.worlds:VERSION",
            "dynamics: module 'own_parts.worlds' has no 'VERSION' to call",
        ),
        (":make", "dynamics: '' is not the name of a module"),
        ("..worlds:make", "dynamics: '..worlds' is not the name of a module"),
        ("own_parts..worlds:make", "dynamics: 'own_parts..worlds' is not the name of a module"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_clear_error(
    own_module: str,  # noqa: ARG001
    name: str,
    message: str,
) -> None:
    with pytest.raises(UserError) as caught:
        find_named("dynamics", name, KNOWN)
    assert str(caught.value) == message


def test_what_fails_inside_a_users_module_is_the_users_to_read(own_module: str) -> None:
    """An error of ours in its place would hide which package is missing, or which line broke."""
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        import_path("dynamics", f"{own_module}.needy", "make")
    with pytest.raises(ValueError, match="on purpose"):
        import_path("dynamics", f"{own_module}.broken", "make")


def _config() -> ConfigDict:
    config = load_config("default")
    config.unlock()
    return config


def test_the_defaults_name_no_code() -> None:
    assert list(code_named(_config())) == []
    assert list(code_named(_config().to_dict())) == []


@pytest.mark.parametrize("plain", [True, False])
def test_every_option_that_can_name_code_is_looked_at(plain: bool) -> None:
    """Whoever is sent a run directory must hear of all code in it, nested values included."""
    config = _config()
    config.source = "mine.sources:Demonstrations"
    config.log.outputs = "tensorboard, mine.out:Writer,mine.out:Other"
    config.agent.dynamics = "mine:dynamics"
    config.agent.objectives.contrast = "mine:contrast"
    config.agent.heads.ended = "mine:ended"
    config.agent.behaviors.explore = "mine:explore"
    config.agent.actor_loss = "mine:loss"
    config.agent.phases = "mine:phases"
    config.agent.encoder = "mine:encoder"
    config.agent.critic = "mine:critic"
    config.agent.optimizer = "mine:optimizer"
    found = list(code_named(config.to_dict() if plain else config))
    assert sorted(found) == sorted(
        [
            ("source", "mine.sources:Demonstrations"),
            ("log.outputs", "mine.out:Writer"),
            ("log.outputs", "mine.out:Other"),
            ("agent.dynamics", "mine:dynamics"),
            ("agent.objectives", "mine:contrast"),
            ("agent.heads", "mine:ended"),
            ("agent.behaviors", "mine:explore"),
            ("agent.actor_loss", "mine:loss"),
            ("agent.phases", "mine:phases"),
            ("agent.encoder", "mine:encoder"),
            ("agent.critic", "mine:critic"),
            ("agent.optimizer", "mine:optimizer"),
        ]
    )
    assert {option for option, _ in found} == set(CODE_OPTIONS)


def test_options_that_are_code_are_options_of_the_config() -> None:
    """A renamed option would silently no longer be looked at."""
    for option in CODE_OPTIONS:
        value = _config()
        for part in option.split("."):
            assert part in value, option
            value = value[part]


@pytest.mark.parametrize(
    "config",
    [{}, {"agent": 3, "log": None}, {"agent": {"heads": {"a": {"b": 5}}, "phases": ["x"]}}],
)
def test_a_config_of_another_shape_names_no_code(config: dict[str, object]) -> None:
    assert list(code_named(config)) == []


def test_looking_imports_nothing() -> None:
    """Names are looked at before anything of a stranger's run is imported."""
    code = (
        "import sys; before = set(sys.modules); from dreamer_jax.named import code_named; "
        "assert list(code_named({'agent': {'dynamics': 'this:module'}})); "
        "assert 'this' not in sys.modules and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
