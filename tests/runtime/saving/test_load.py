"""A trained agent, loaded, acts as evaluation does and leaves the run directory alone."""

from __future__ import annotations

import json
import math
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import disk, tiny_run

import dreamer_jax
from dreamer_jax.device.compiled import name_arrays
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.errors import UserError
from dreamer_jax.named import CODE_OPTIONS
from dreamer_jax.runtime.evaluation import EVALUATION_PROCESS, evaluate
from dreamer_jax.runtime.player import Player
from dreamer_jax.runtime.saving.load import Saved, load_saved

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")


def train(task: str, root: Path, **options: Any) -> Path:
    config = tiny_run(task, {"checkpoint.seconds": 0.0, **options})
    assert dreamer_jax.run_training(config, root) == 0
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, cheap_compile: None) -> Path:  # noqa: ARG001
    """A run with two checkpoints on CartPole: one observation key, one discrete action key."""
    return train("gymnasium:CartPole-v1", tmp_path_factory.mktemp("cartpole"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, cheap_compile: None) -> Path:  # noqa: ARG001
    """A run with several keys of every kind, never trained: acting is what matters."""
    return train("testing:mixed", tmp_path_factory.mktemp("mixed"), steps=3)


def load(root: Path, step: int | None = None) -> Saved:
    return load_saved(root, step)


def environment(saved: Saved) -> VectorEnv:
    return saved.make_envs(1, seed=0, process=EVALUATION_PROCESS, watched=True)


def observation(records: dict[str, np.ndarray], saved: Saved) -> dict[str, np.ndarray]:
    return {key: records[key][0] for key in saved.compiled.agent.spaces.obs}


@pytest.mark.parametrize("name", ["root", "mixed"])
@pytest.mark.parametrize("sample", [False, True])
def test_acts_as_evaluation_does(name, sample, request):
    saved = load(request.getfixturevalue(name))
    with environment(saved) as envs:
        mode = "train" if sample else "eval"
        (expected,) = evaluate(envs, saved.compiled, saved.params, 1, mode=mode).episodes
    player, score, length = Player(saved, sample), 0.0, 0
    with environment(saved) as envs:
        records = envs.reset()
        while not records["is_last"][0]:
            action = player.act(observation(records, saved))
            named = action if isinstance(action, dict) else {"action": action}
            for key, value in named.items():
                space = player.spaces.action[key]
                assert value.shape == space.shape and value.dtype == space.dtype
                assert space.discrete or (abs(value) <= 1).all()
            records = envs.step({key: np.asarray(value)[None] for key, value in named.items()})
            score, length = score + float(records["reward"][0]), length + 1
    assert (score, length) == (expected.score, expected.length)


def test_takes_and_returns_bare_values_where_there_is_one_key(root):
    saved = load(root)
    (key,) = saved.compiled.agent.spaces.obs
    value = np.array([0.01, -0.02, 0.03, 0.04])  # float64, as environments give it
    bare, named = Player(saved).act(value), Player(saved).act({key: value, "unknown": 3})
    assert bare == named and bare in (0, 1) and np.shape(bare) == ()


def test_load_is_the_way_in(root):
    player = dreamer_jax.load(root)
    assert player.config.task == "gymnasium:CartPole-v1"
    assert player.act([0.0, 0.0, 0.0, 0.0]) in (0, 1)


def test_wrong_observations_are_named(root, mixed):
    saved = load(root)
    with pytest.raises(UserError, match=r"has shape \(3,\), the agent knows \(4,\)"):
        Player(saved).act(np.zeros(3))
    with pytest.raises(UserError, match=r"has shape \(1, 4\), the agent knows \(4,\)"):
        Player(saved).act(np.zeros((1, 4)))
    with pytest.raises(UserError, match="cannot be read as float32"):
        Player(saved).act(["left", "right", "up", "down"])
    player = Player(load(mixed))
    obs = {key: np.zeros(space.shape, space.dtype) for key, space in player.spaces.obs.items()}
    player.act(obs)
    del obs["matrix"]
    with pytest.raises(UserError, match=r"lacks 'matrix'; it needs .*'image', 'integer', 'matrix'"):
        player.act(obs)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("image", 0.5, "'image' holds 0.5, which uint8 would change"),
        ("image", 300, "'image' holds 300, which uint8 would change"),
        ("image", -1, "'image' holds -1, which uint8 would change"),
        ("integer", 7, r"'integer' holds 7 … 7; it may hold classes 0 … 6"),
        ("integer", 1.7, "'integer' holds 1.7, which int32 would change"),
        ("vector", math.nan, "'vector' holds nan … nan; it may hold finite numbers"),
        ("vector", math.inf, "'vector' holds inf … inf; it may hold finite numbers"),
        ("flags", 2, "'flags' holds 2, which bool would change"),
    ],
)
def test_values_that_a_space_rules_out_are_named_and_not_remembered(mixed, key, value, told):
    """Symptom: 300 wrapped to 44, and one NaN poisoned every later action until `reset`."""
    player = Player(load(mixed))
    good = {name: np.zeros(space.shape, space.dtype) for name, space in player.spaces.obs.items()}
    player.act(good)
    before = name_arrays(player._carry, "")
    with pytest.raises(UserError, match=told):
        player.act({**good, key: np.full(player.spaces.obs[key].shape, value)})
    assert same(before, name_arrays(player._carry, ""))
    player.act({**good, "integer": np.int64(6), "vector": np.full(5, -math.inf)})


def test_reset_forgets_everything(root):
    """Latents are sampled, so players are compared after as many calls."""
    saved, rng = load(root), np.random.default_rng(0)
    one, two = Player(saved), Player(saved)
    for _ in range(3):
        one.act(rng.normal(size=4)), two.act(rng.normal(size=4))
    carries = lambda: [name_arrays(player._carry, "") for player in (one, two)]
    assert not same(*carries())
    one.reset(), two.reset()
    obs = rng.normal(size=4)
    assert one.act(obs) == two.act(obs) and same(*carries())
    one.act(obs), two.reset(), two.act(obs)
    assert not same(*carries())


def same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[key], two[key]) for key in one)


def test_loading_changes_nothing_on_disk(root):
    before = disk(root)
    player = dreamer_jax.load(root)
    player.act(np.zeros(4))
    assert disk(root) == before and len(before) > 10


def test_older_checkpoints_can_be_asked_for(root):
    older, newest = sorted(int(path.name) for path in (root / "checkpoints").iterdir())
    assert (load(root).grad_steps, load(root, older).grad_steps) == (newest, older)
    assert not same(*(name_arrays(load(root, step).params, "") for step in (older, newest)))
    with pytest.raises(UserError, match=rf"of step 99999 .*there are: {newest}, {older}"):
        load(root, 99999)


def test_what_cannot_be_loaded_is_said(root, tmp_path):
    with pytest.raises(UserError, match=r"holds no run: there is no config.json"):
        load(tmp_path / "nowhere")
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    older, newest = sorted((copy / "checkpoints").iterdir())
    (newest / "arrays.npz").unlink()
    with pytest.warns(RuntimeWarning, match="skipped checkpoint .*arrays.npz is missing"):
        assert load(copy).grad_steps == int(older.name)
    (older / "manifest.json").write_text("{")
    with warnings.catch_warnings():  # the error says it all
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"holds no whole checkpoint: .*its manifest cannot"):
            load(copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="none was saved yet; train first"):
        load(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        load(copy)


def test_checkpoint_of_another_agent_is_refused(root, tmp_path):
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace("16/8/3/2/8", "32/8/3/2/8"))
    with pytest.raises(UserError, match=r"in the checkpoint but .* in this agent"):
        load(copy)


def test_loading_builds_no_simulator(root, monkeypatch):
    """An agent could not act on a robot's computer, where its simulator is not installed."""
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.setattr(VectorEnv, "__init__", lambda *_, **__: pytest.fail("built"))
    assert dreamer_jax.load(root).act(np.zeros(4)) in (0, 1)


def test_run_without_spaces_is_told_how_to_get_them(root, tmp_path):
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    (copy / "spaces.json").unlink()
    with pytest.raises(UserError, match=r"lacks spaces.json; start the run once more"):
        load(copy)


HOSTILE = """
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.errors import UserError

def make(*args, **options):
    raise UserError("hostile code was called")

def env():
    return Counting()
"""


@pytest.fixture
def sent(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory as somebody sends it, beside a module that its files may name."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "hostile.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "hostile", raising=False)
    return Path(shutil.copytree(root, tmp_path / "sent"))


def rewrite(root: Path, dotted: str, value: Any) -> None:
    """Set an option in the config.json of a run."""
    config = json.loads((root / "config.json").read_text())
    *path, last = dotted.split(".")
    section = config
    for name in path:
        section = section[name]
    assert last in section
    section[last] = value
    (root / "config.json").write_text(json.dumps(config))


# What holds several names is tried with one that has been there and with one that has not.
NAMING = {
    "source": ["hostile:make"],
    "log.outputs": ["hostile:make", "tensorboard, hostile:make"],
    "agent.encoder": ["hostile:make"],
    "agent.dynamics": ["hostile:make"],
    "agent.objectives": [{"decoder": "hostile:make"}, {"decoder": "", "mine": "hostile:make"}],
    "agent.heads": [{"reward": "hostile:make", "cont": "bernoulli"}],
    "agent.behaviors": [{"main": "hostile:make"}, {"main": "actor_critic", "z": "hostile:make"}],
    "agent.actor_loss": ["hostile:make"],
    "agent.critic": ["hostile:make"],
    "agent.phases": ["hostile:make"],
    "agent.optimizer": ["hostile:make"],
}
NEVER_BUILT = ("source", "log.outputs")  # a loaded agent needs neither


def test_every_option_that_names_code_is_tried():
    assert NAMING.keys() == set(CODE_OPTIONS)


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in NAMING.items() for value in values]
)
def test_code_that_the_files_of_a_run_name_runs_for_nobody_who_does_not_trust_it(
    sent, option, value
):
    """Whoever looks at an agent that was sent would run what its sender wrote."""
    rewrite(sent, option, value)
    text = rf"config\.{option}='hostile:make' of .*config\.json would run .*say --trust, or trust="
    for refuse in (load_saved, dreamer_jax.load):
        with pytest.raises(UserError, match=text):
            refuse(sent)
    assert "hostile" not in sys.modules
    if option in NEVER_BUILT:
        assert load_saved(sent, trust=True).trust and "hostile" not in sys.modules
    else:
        with pytest.raises(UserError, match="hostile code was called"):
            load_saved(sent, trust=True)


def test_a_task_that_names_code_is_built_for_nobody_who_does_not_trust_it(sent):
    """The agent itself acts: its spaces are in a file of their own."""
    rewrite(sent, "task", "hostile:env")
    saved = load_saved(sent)
    assert Player(saved).act(np.zeros(4)) in (0, 1)
    with pytest.raises(UserError, match=r"'hostile:env' would run .*--task=hostile:env.*--trust"):
        environment(saved)
    assert "hostile" not in sys.modules
    with environment(load_saved(sent, trust=True)) as envs:
        assert "index" in envs.spaces.obs
    options = {"seed": 0, "process": EVALUATION_PROCESS, "watched": True}
    with saved.make_envs(1, task="hostile:env", **options) as envs:
        assert "index" in envs.spaces.obs


def test_a_gymnasium_id_that_names_a_module_is_code_too(sent):
    rewrite(sent, "task", "gymnasium:hostile:CartPole-v1")
    with pytest.raises(UserError, match=r"would run code that its config\.json names"):
        environment(load_saved(sent))
    assert "hostile" not in sys.modules


def test_a_task_may_be_named_by_whoever_evaluates(root):
    saved = load(root)
    options = {"seed": 0, "process": EVALUATION_PROCESS, "watched": True}
    with saved.make_envs(2, task="testing:counting", **options) as envs:
        assert "index" in envs.spaces.obs and envs.number == 2
    assert saved.config.task == "gymnasium:CartPole-v1"  # what was loaded stays as it is
