"""ProcGen: seeds decide levels, snapshots continue exactly, ends come once."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gym3")

from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.suites.procgen import names
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space


def _play(env, steps, seed=0):
    """Play random actions until an end; return the records."""
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(steps):
        records.append(env.step({"action": np.int32(rng.integers(15))}))
        if records[-1]["is_last"]:
            break
    return records


def _equal(first, second):
    return len(first) == len(second) and all(
        all(np.array_equal(a[key], b[key]) for key in a) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("name", names())
def test_every_game_keeps_the_contract(name):
    assert check_env(lambda: make_env(f"procgen:{name}"), max_steps=40) == []


def test_spaces_are_those_of_the_library():
    env = make_env("procgen:coinrun")
    assert env.spaces.obs == {"image": Space(np.dtype(np.uint8), (64, 64, 3))}
    assert env.spaces.action == {"action": Space(np.dtype(np.int32), (), 15)}
    assert env.render().shape == (512, 512, 3)


def test_seeds_choose_among_the_levels_there_are():
    pictures = lambda env: {env.reset(seed)["image"].tobytes() for seed in range(12)}
    assert len(pictures(make_env("procgen:maze"))) == 12
    assert len(pictures(make_env("procgen:maze", num_levels=2))) == 2
    other = make_env("procgen:maze", num_levels=2, start_level=2)
    assert not pictures(make_env("procgen:maze", num_levels=2)) & pictures(other)
    assert len(pictures(make_env("procgen:maze", distribution="exploration"))) == 1


def test_distributions_differ():
    easy, hard = (make_env("procgen:maze", distribution=d) for d in ("easy", "hard"))
    assert (easy.reset(3)["image"] != hard.reset(3)["image"]).any()


def test_the_last_record_does_not_show_the_next_level():
    env = make_env("procgen:bossfight", distribution="easy")
    records = [env.reset(1), *_play(env, 3000)]
    assert records[-1]["is_last"] and records[-1]["is_terminal"]
    assert (records[-1]["image"] == records[-2]["image"]).all()
    assert not any(record["is_last"] for record in records[:-1])


def test_a_snapshot_continues_bit_for_bit_in_another_instance():
    first, second = make_env("procgen:starpilot"), make_env("procgen:starpilot")
    first.reset(5), _play(first, 23)
    second.reset(8), _play(second, 7)
    second.restore(first.snapshot())
    assert _equal(_play(first, 200, seed=3), _play(second, 200, seed=3))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("coinrum", {}, "'coinrum'.*coinrun"),
        ("coinrun", {"distribution": "esay"}, "'esay'.*easy"),
        ("coinrun", {"num_levels": -1}, "neither can be negative"),
        ("bigfish", {"distribution": "exploration"}, "no level for exploration"),
        ("maze", {"distribution": "exploration", "num_levels": 3}, "one fixed level"),
    ],
)
def test_what_cannot_work_is_said(name, options, message):
    with pytest.raises(UserError, match=message):
        make_env(f"procgen:{name}", **options)
