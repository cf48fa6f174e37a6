"""A checkpoint in the maintained code's format becomes a run directory; anything else, one line."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from tiny import random_state, random_tree
from tiny_run import disk, make_training, shared_agent, tiny_run

from dreamer_jax.__main__ import main, run
from dreamer_jax.commands.import_author import find_spaces, import_config
from dreamer_jax.compat.names import export_params
from dreamer_jax.compat.pickles import read_author_checkpoint
from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import name_arrays
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.rundir import RunDir, read_spaces
from dreamer_jax.types import TrainState

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")

TASK, UPDATES, PHASE = "testing:chase", 41, "joint"

# The maintained code's config.yaml for the agent of tiny_run.py, without what is not read.
CONFIG_YAML = """
seed: 3
batch_size: 5
batch_length: 7
replay_context: 1
replay: {size: 1000.0}
run: {steps: 30000.0, envs: 2, train_ratio: 128}
agent:
  ac_grads: false
  contdisc: true
  horizon: 333
  imag_last: 0
  imag_length: 3
  policy_dist_disc: categorical
  policy_dist_cont: bounded_normal
  reward_grad: true
  repval_loss: true
  repval_grad: true
  imag_loss: {actent: 0.0003, lam: 0.95, slowreg: 1.0, slowtar: false}
  repl_loss: {lam: 0.95, slowreg: 1.0, slowtar: false}
  loss_scales: {con: 1.0, dyn: 1.0, policy: 1.0, rec: 1.0, rep: 0.1, repval: 0.3, rew: 1.0,
    value: 1.0}
  advnorm: {impl: none}
  valnorm: {impl: none}
  retnorm: {debias: false, impl: perc, limit: 1.0, perchi: 95.0, perclo: 5.0, rate: 0.01}
  slowvalue: {every: 1, rate: 0.02}
  opt: {agc: 0.3, anneal: 0, beta1: 0.9, beta2: 0.999, eps: 1e-20, lr: 4e-5, momentum: true,
    schedule: const, warmup: 2, wd: 0.0}
  dyn:
    typ: rssm
    rssm: {absolute: false, act: silu, blocks: 4, classes: 3, deter: 16, dynlayers: 1,
      free_nats: 1.0, hidden: 8, imglayers: 1, norm: rms, obslayers: 1, outscale: 1.0, stoch: 3,
      unimix: 0.01}
  enc:
    typ: simple
    simple: {depth: 2, kernel: 5, layers: 1, mults: [2, 3, 4, 4], outer: false, strided: false,
      symlog: true, units: 8}
  dec:
    typ: simple
    simple: {bspace: 8, depth: 2, kernel: 5, layers: 1, mults: [2, 3, 4, 4], outer: false,
      outscale: 1.0, strided: false, units: 8}
  rewhead: {bins: 11, layers: 1, output: symexp_twohot, units: 8}
  conhead: {layers: 1, output: binary, units: 8}
  policy: {layers: 1, maxstd: 1.0, minstd: 0.1, outscale: 0.01, unimix: 0.01, units: 8}
  value: {bins: 11, layers: 1, output: symexp_twohot, units: 8}
"""


def options() -> dict[str, Any]:
    # YAML reads 4e-5, without a dot, as text; the original has dots or is read by another reader.
    read: dict[str, Any] = yaml.safe_load(CONFIG_YAML)
    opt = read["agent"]["opt"]
    opt["lr"], opt["eps"] = float(opt["lr"]), float(opt["eps"])
    return read


@pytest.fixture(scope="module")
def state(cheap_compile: None) -> TrainState:  # noqa: ARG001
    """A train state in which no two numbers are alike."""
    config = tiny_run(TASK)
    agent = shared_agent(config, find_size(config.size), make_env(TASK).spaces).agent
    state = random_state(agent, seed=5)
    count = jnp.int32(UPDATES)
    clip, rms, momentum, *rest, schedule = state.opt[PHASE]
    rms = rms._replace(count=count, nu=random_tree(rms.nu, 7))
    momentum = momentum._replace(count=count, ema=random_tree(momentum.ema, 8))
    opt = (clip, rms, momentum, *rest, schedule._replace(count=count))
    return state._replace(opt={PHASE: opt}, grad_steps=count)


@pytest.fixture
def params(state: TrainState) -> dict[str, np.ndarray]:
    """The state under the original names, optimiser included."""
    obs = make_env(TASK).spaces.obs
    named = export_params(state, obs)
    opt = state.opt[PHASE]
    for slot, tree in {1: opt[1].nu, 2: opt[2].ema}.items():
        values = export_params(state._replace(params=tree), obs)
        trained = [name for name in values if not name.startswith(("slowval", "retnorm"))]
        named |= {f"opt/state/{slot}/1/{name}": values[name] for name in trained}
        named[f"opt/state/{slot}/0"] = np.array(UPDATES, np.int32)
    return named | {"opt/state/3/count": np.array(UPDATES, np.int32)}


@pytest.fixture
def convert(tmp_path: Path, params: dict[str, np.ndarray]) -> Callable[..., list[str]]:
    """Return a function that writes both files and returns the command line."""

    def write(content: Any = None, yaml_text: str | None = None) -> list[str]:
        content = {"params": params, "counters": {"updates": 1}} if content is None else content
        raw = content if isinstance(content, bytes) else pickle.dumps(content)
        (tmp_path / "agent.pkl").write_bytes(raw)
        (tmp_path / "config.yaml").write_text(yaml_text or yaml.safe_dump(options()))
        files = {"checkpoint": "agent.pkl", "config_yaml": "config.yaml", "logdir": "new"}
        given = [f"--{name}={tmp_path / file}" for name, file in files.items()]
        return ["import_author", f"--task={TASK}", *given]

    return write


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[list[str]], str]:
    """Return a function that runs a command line and returns its one line of error."""

    def fail(arguments: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", ["dreamer-jax", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        err = capsys.readouterr().err
        assert stopped.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1
        assert not (tmp_path / "new").exists()
        return err.removeprefix("error: ").strip()

    return fail


def test_parameters_optimiser_and_count_come_over(convert, state, tmp_path, capsys):
    assert run(convert()) == 0
    assert f"imported {UPDATES} updates into {tmp_path / 'new'}" in capsys.readouterr().out
    found = Checkpointer(tmp_path / "new" / "checkpoints", keep=1).load()
    expected = name_arrays(state, "state/")
    assert found is not None and found.step == UPDATES
    assert found.arrays.keys() == expected.keys()
    assert read_spaces(RunDir(tmp_path / "new")) == make_env(TASK).spaces
    for name, value in expected.items():
        np.testing.assert_array_equal(found.arrays[name], value, err_msg=name)


def test_arrays_pickled_by_older_numpy_are_read(params, tmp_path):
    """NumPy 1 kept the functions that rebuild arrays in `numpy.core`."""
    raw = pickle.dumps({"params": params}, protocol=3)
    old = raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != raw
    (tmp_path / "agent.pkl").write_bytes(old)
    read, counters = read_author_checkpoint(tmp_path / "agent.pkl")
    assert read.keys() == params.keys() and counters == {}
    assert all(np.array_equal(read[name], params[name]) for name in params)


def test_result_is_evaluated_and_trained_from(convert, tmp_path, capsys):
    assert run(convert()) == 0
    root = tmp_path / "new"
    assert run(["evaluate", f"--logdir={root}", "--episodes=2", "--envs=1"]) == 0
    assert f"after {UPDATES} updates" in capsys.readouterr().out
    config = tiny_run(TASK, {"from_checkpoint": str(root)})
    training = make_training(config, tmp_path / "on")
    assert int(training.learner.train_state.grad_steps) == UPDATES
    training.close()


def test_options_are_ours_under_other_names():
    config = import_config(options(), TASK)
    assert config.agent.to_dict() == tiny_run(TASK).agent.to_dict()
    assert (config.task, config.size, config.seed, config.envs) == (TASK, "16/8/3/2/8", 3, 2)
    assert (config.steps, config.train_ratio) == (30_000, 128.0)
    assert (config.batch_size, config.batch_length) == (5, 7)
    assert (config.replay.capacity, config.replay.context) == (1000, 1)


class Malice:
    """Unpickles by calling a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, "builtins.eval"), (getattr, "builtins.getattr")],
)
def test_pickle_that_would_run_code_is_refused(convert, refused, tmp_path, function, name):
    touched = tmp_path / "touched"
    content = {"params": {"x": np.ones(2), "y": Malice(function, f"touch {touched}")}}
    text = f"the checkpoint names {name}, which no such file needs; refused"
    assert refused(convert(content)) == text
    assert not touched.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_checkpoint_is_one_clear_error(convert, refused, params, share):
    raw = pickle.dumps({"params": params, "counters": {}})
    message = refused(convert(raw[: int(share * len(raw))]))
    assert "agent.pkl is not a checkpoint of the maintained code: " in message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"weights": {}}, "is not a checkpoint of the maintained code: 'params'"),
        ([1, 2], "is not a checkpoint of the maintained code: "),
        ({"params": {"x": "text"}}, "every parameter must be an array"),
        ({"params": {}}, "is missing from the maintained code's file"),
    ],
)
def test_other_pickles_are_refused(convert, refused, content, text):
    assert text in refused(convert(content))


def test_missing_and_misshapen_parameters_are_named(convert, refused, params):
    name = "opt/state/2/1/dyn/dyngru/bias"
    bias = params.pop(name)
    assert refused(convert()) == f"parameter {name} is missing from the maintained code's file"
    params[name] = bias[1:]
    assert refused(convert()) == f"parameter {name} has shape (47,) there and (48,) here"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda o: o.pop("agent"), "is not a config of the maintained code: it has no `agent`"),
        (lambda o: o["run"].pop("envs"), "the maintained code's option run.envs is missing"),
        (lambda o: o["agent"]["opt"].pop("lr"), "the maintained code's option opt.lr is missing"),
        (
            lambda o: o["agent"]["dyn"].update(typ="transformer"),
            "the maintained code's dyn.typ='transformer' is not offered here, only 'rssm'",
        ),
        (
            lambda o: o["agent"]["policy"].update(units=16),
            "the maintained code's networks differ in units or depth",
        ),
        (lambda o: o.update(seed="three"), "the config.yaml cannot be used: "),
        (lambda o: o["run"].update(steps=float("inf")), "the config.yaml cannot be used: "),
        (lambda o: o.update(batch_length=0), "config.batch_length=0; it must be at least 2"),
    ],
    ids=["agent", "envs", "lr", "typ", "units", "seed", "steps", "length"],
)
def test_config_that_has_no_counterpart_is_named(convert, refused, change, text):
    changed = options()
    change(changed)
    assert text in refused(convert(yaml_text=yaml.safe_dump(changed)))


@pytest.mark.parametrize("text", ["agent: [", "3", "agent", "[" * 9999, "agent: 2001-99-99", "\0"])
def test_what_is_no_config_is_refused(convert, refused, tmp_path, text):
    message = refused(convert(yaml_text=text))
    assert f"cannot read {tmp_path / 'config.yaml'}" in message or "has no `agent`" in message


def test_missing_files_and_arguments_are_named(convert, refused, tmp_path):
    arguments = convert()
    (tmp_path / "agent.pkl").unlink()
    assert "No such file or directory" in refused(arguments)
    (tmp_path / "config.yaml").unlink()
    assert refused(arguments).startswith(f"cannot read {tmp_path / 'config.yaml'}: ")
    for name in ("checkpoint", "config_yaml", "task", "logdir"):
        rest = [a for a in arguments if not a.startswith(f"--{name}=")]
        assert refused(rest).startswith(f"import_author needs --{name}=…: ")


def test_directory_with_a_run_is_left_alone(convert, tmp_path):
    """Its checkpoints were replaced by the imported one, if the configs were equal."""
    arguments = convert()
    assert run(arguments) == 0
    before = disk(tmp_path / "new")
    with pytest.raises(UserError, match="already holds a run; choose a new --logdir"):
        run(arguments)
    assert disk(tmp_path / "new") == before


UNCLOSABLE = """
from dreamer_jax.envs.testing.counting import Counting

class Env(Counting):
    def close(self):
        raise RuntimeError("closed twice")
"""


def test_a_task_that_cannot_be_closed_still_tells_its_spaces(tmp_path, monkeypatch, capsys):
    """It was built to be asked for its spaces alone, and they were known."""
    (tmp_path / "unclosable.py").write_text(UNCLOSABLE)
    monkeypatch.syspath_prepend(tmp_path)
    config = tiny_run("unclosable:Env")
    assert find_spaces(config) == make_env("testing:counting").spaces
    assert (
        "unclosable:Env could not be closed: RuntimeError: closed twice" in capsys.readouterr().out
    )
