"""What pyproject.toml, constraints.txt and the code say about each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHONS = ("3.11", "3.12")


def test_every_package_folder_is_shipped():
    """Discovery cannot be combined with the configs mapping, so the list is written by hand."""
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "dreamer_jax").rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders | {"dreamer_jax.configs"}
    code = {path.parent for path in (ROOT / "dreamer_jax").rglob("*.py")} | {ROOT / "configs"}
    assert {folder for folder in code if not (folder / "__init__.py").exists()} == set()


def test_extras_named_in_messages_exist():
    """A person is told `pip install 'dreamer-jax[media]'`; that must be a thing to install."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "dreamer_jax").rglob("*.py")]
    named = {
        extra
        for text in texts
        for group in re.findall(r"dreamer-jax\[([\w,-]+)\]", text)
        for extra in group.split(",")
    }
    assert {"media", "log"} <= named <= set(PROJECT["project"]["optional-dependencies"])


def _requirements(python: str) -> list:
    requirement = pytest.importorskip("packaging.requirements").Requirement
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    parsed = [requirement(line) for group in groups for line in group]
    here = {"python_version": python}
    return [r for r in parsed if r.marker is None or r.marker.evaluate(here)]


def _pins(python: str) -> dict[str, str]:
    requirement = pytest.importorskip("packaging.requirements").Requirement
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        if not line.startswith("#"):
            pin = requirement(line)
            assert pin.url is None and [s.operator for s in pin.specifier] == ["=="], line
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                assert pin.name not in pins, line
                pins[pin.name] = next(iter(pin.specifier)).version
    return pins


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_to_a_version_it_allows(python):
    canonical = pytest.importorskip("packaging.utils").canonicalize_name
    pins, seen = _pins(python), 0
    for requirement in _requirements(python):
        name = canonical(requirement.name)
        if name == "dreamer-jax":
            known = PROJECT["project"]["optional-dependencies"]
            assert set(requirement.extras) <= set(known), requirement
            continue
        assert name in pins, requirement
        assert requirement.specifier.contains(pins[name], prereleases=True), requirement
        seen += 1
    assert seen > 20
