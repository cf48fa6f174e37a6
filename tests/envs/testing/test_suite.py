"""The self-checking environments check themselves, too."""

from __future__ import annotations

import pytest

from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.suite import names


@pytest.mark.parametrize("name", [name for name in names() if name != "flaky"])
def test_every_one_keeps_the_contract(name):
    assert check_env(lambda: make_env(f"testing:{name}"), episodes=3) == []


def test_names_are_those_of_the_registry():
    assert {"counting", "flaky", "mixed", "chase", "chase_image"} <= set(names())
    assert {"recall", "factors", "deepsea", "corridor"} <= set(names())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("recall", {"delay": delay}) for delay in (0, 32, 48)),
        *(("factors", {"graph": graph}) for graph in ("fork", "collider", "full")),
        *(("factors", {"split": split}) for split in ("decorrelated", "corrupted")),
        ("factors", {"joint": False}),
        ("deepsea", {"size": 13, "one_hot": True}),
        ("corridor", {"cells": 5, "length": 11}),
        ("chase_image", {"object_size": 4, "background": "noise", "rule": "flee"}),
    ],
)
def test_options_keep_the_contract(name, options):
    assert check_env(lambda: make_env(f"testing:{name}", **options), episodes=3) == []
