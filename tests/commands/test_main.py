"""One line for every mistake: `error: …` on stderr, exit code 2, nothing written, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import disk, tiny_arguments

from dreamer_jax.__main__ import COMMANDS, main

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")

ROOT = Path(__file__).resolve().parents[2]
CHASE = "testing:chase"


@pytest.fixture
def refused(monkeypatch, capsys):
    """Return a function that runs a command line and returns the text after `error: `."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["dreamer-jax", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        out, err = capsys.readouterr()
        assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
        assert "Traceback" not in out + err
        return err.removeprefix("error: ").rstrip("\n")

    return run


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a person would, but compile as `cheap_compile` does."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["dreamer-jax", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    assert stopped.value.code == 0 and err == ""
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(COMMANDS)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("trian", "did you mean train?"),
        ("xyz", f"commands are {', '.join(COMMANDS)}"),
    ],
)
def test_unknown_command_is_refused(refused, command, hint):
    assert refused(command) == f"no command {command!r}; {hint}"


_JAX_LOADED = """
import runpy, sys
sys.argv = ["dreamer_jax", *sys.argv[1:]]
try:
    runpy.run_module("dreamer_jax", run_name="__main__")
except SystemExit as stopped:
    print(stopped.code, "jax" in sys.modules, "numpy" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("trian", 2)])
def test_help_and_unknown_commands_do_not_wait_for_jax(argument, code):
    result = process("-c", _JAX_LOADED, argument)
    assert result.stderr.splitlines()[-1] == f"{code} False False"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        # Command line.
        (["extra"], "unexpected argument 'extra'; options are written --name=value"),
        (
            ["--conifg=debug"],
            "unknown option --conifg; options are --config, --coordinator, --logdir",
        ),
        (["--config", "debug"], "write --config=PRESET or --config=PATH"),
        (["--config=debgu"], "no preset 'debgu'; did you mean debug?"),
        (["--config=nowhere.py"], "config file nowhere.py does not exist"),
        (["--config.stesp=3"], "unknown config key 'stesp'; did you mean steps?"),
        (["--config.agent.warmupp=3"], "unknown config key 'agent.warmupp'; did you mean agent.wa"),
        (["--config.steps.x=3"], "unknown config key 'steps.x'"),
        (["--config.agent=3"], "config key 'agent' holds options; write --config.agent.NAME=value"),
        (["--config.env.foo=1"], "testing:chase has no option 'foo'; it accepts"),
        (["--config.faults.timeout=0"], "config.faults.timeout=0.0; it must be above 0"),
        (["--config.faults.timeout=nan"], "config.faults.timeout=nan; it must be above 0"),
        (
            ["--config.faults.invalid_values=x"],
            "config.faults.invalid_values='x'; it must be one of error",
        ),
        (["--config.steps=many"], "flag --config.steps=many: invalid literal for int()"),
        (["--config.steps=1.5"], "flag --config.steps=1.5: invalid literal for int()"),
        (["--config.train_ratio=x"], "flag --config.train_ratio=x: could not convert"),
        (["--config.replay.online=perhaps"], "flag --config.replay.online=perhaps: "),
        # Numbers.
        (["--config.steps=-1"], "config.steps=-1; it must be at least 1"),
        (["--config.envs=0"], "config.envs=0; it must be at least 1"),
        (["--config.batch_length=1"], "config.batch_length=1; it must be at least 2"),
        (["--config.seed=-1"], "config.seed=-1; it must be at least 0"),
        (["--config.seed=4294967296"], "config.seed=4294967296; it must be at least 0 and at"),
        (["--config.train_ratio=0"], "config.train_ratio=0.0; it must be above 0"),
        (["--config.train_ratio=nan"], "config.train_ratio=nan; it must be above 0"),
        (["--config.train_ratio=inf"], "config.train_ratio=inf; it must be above 0 and at most"),
        (["--config.replay.context=2"], "config.replay.context=2; it must be at least 0 and at"),
        (["--config.replay.recency=nan"], "config.replay.recency=nan; it must be from 0 to 1"),
        (["--config.evaluation.envs=0"], "config.evaluation.envs=0; it must be at least 1"),
        (["--config.agent.actor_layers=0"], "config.agent.actor_layers=0; it must be at least 1"),
        (["--config.agent.unimix=1.5"], "config.agent.unimix=1.5; it must be from 0 to 1"),
        (["--config.agent.blocks=3"], "config.agent.blocks=3 does not divide the 16 units of"),
        (["--config.agent.bins=10"], "config.agent.bins=10; it must be odd"),
        (["--config.size=13m"], "no size '13m'; config.size is one of 100k, "),
        (["--config.size=16/8/3/0/8"], "no size '16/8/3/0/8'"),
        # What a run is made of.
        (["--config.task=chase"], "task 'chase' is not of the form suite:name"),
        (
            ["--config.task=testign:chase"],
            "unknown suite or module 'testign'; close to it: testing",
        ),
        (["--config.task=testing:chas"], "unknown testing environment 'chas'; close to it: chase"),
        (
            ["--config.task=gymnasium:CartPol-v1"],
            "unknown gymnasium id 'CartPol-v1'; close to it: ",
        ),
        (
            ["--config.compute_dtype=float16"],
            "config.compute_dtype='float16'; it must be one of auto",
        ),
        (
            ["--config.env_workers=many"],
            "config.env_workers='many'; it must be one of auto, inline, process, ray",
        ),
        (["--config.from_checkpoint=nowhere"], "from_checkpoint=nowhere holds no whole checkpoint"),
        (
            ["--config.agent.decay=step"],
            "config.agent.decay='step'; it must be one of const, linear",
        ),
        # What was accepted, and was never or always true, or NaN from the first update on.
        (["--config.checkpoint.seconds=nan"], "config.checkpoint.seconds=nan; it must be from 0"),
        (["--config.agent.learning_rate=-1"], "config.agent.learning_rate=-1.0; it must be from 0"),
        (["--config.agent.learning_rate=nan"], "config.agent.learning_rate=nan; it must be from 0"),
        (["--config.agent.return_low=96"], "config.agent.return_low=96.0; it must not exceed"),
        (["--config.agent.beta2=2"], "config.agent.beta2=2.0; it must be from 0 to 0.999999"),
        (["--config.agent.loss_scales.rep=-1"], "config.agent.loss_scales.rep=-1.0; it must be"),
        (["--config.agent.loss_scales.rep=nan"], "config.agent.loss_scales.rep=nan; it must be"),
        (
            ["--config.agent.loss_scales.own='x'"],
            "config.agent.loss_scales.own='x'; it must be a n",
        ),
        (["--config.mesh.fsdp=0"], "config.mesh.fsdp=0; it must be at least 1"),
        (
            ["--config.envs=100000000"],
            "config.envs=100000000; it must be at least 1 and at most 100",
        ),
        (["--config.env.cells={1,2}"], "config.env.cells={1, 2}; it must be text, numbers"),
        (["--config.env.__class__=3"], "unknown config key 'env.__class__'"),
    ],
    ids=lambda value: value[0].removeprefix("--config.") if isinstance(value, list) else "",
)
def test_what_train_cannot_use_is_refused(refused, tmp_path, given, text):
    assert refused(*tiny_arguments(CHASE, tmp_path / "new"), *given).startswith(text)
    assert not (tmp_path / "new").exists()


def test_the_installed_command_finds_a_task_in_the_working_directory(tmp_path, monkeypatch, capsys):
    text = "from dreamer_jax.envs.testing.counting import Counting as make\n"
    (tmp_path / "a_task_of_my_own.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    monkeypatch.setattr(sys, "argv", ["dreamer-jax", "check", "a_task_of_my_own:make"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0 and "the contract is kept" in capsys.readouterr().out


def test_options_of_an_environment_are_checked(refused, tmp_path):
    preset = tmp_path / "own.py"
    text = (
        "from dreamer_jax.configs import debug\n\ndef get_config():\n    c = debug.get_config()\n"
    )
    preset.write_text(f"{text}    c.task = '{CHASE}'\n    c.env.cels = 5\n    return c\n")
    message = refused("train", f"--config={preset}", f"--logdir={tmp_path / 'new'}")
    assert message.startswith("testing:chase has no option 'cels' (did you mean 'cells'?)")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("c.stesp = 3", "there is no option config.stesp; did you mean config.steps?"),
        ("c.steps = 1e6", "own.py:5: TypeError: "),
        ("del c.env", "the config lacks env; start from configs/default.py"),
        ("c = type(c)()", "the config lacks task and "),
        ("c = {}", "get_config() of "),
    ],
)
@pytest.mark.parametrize("command", ["train", "check"])
def test_a_file_that_is_no_config_is_refused(refused, tmp_path, command, line, text):
    """Whatever read the option first raised a TypeError, a KeyError or an AttributeError."""
    preset = tmp_path / "own.py"
    text_before = "from dreamer_jax.configs import debug\n\ndef get_config():\n"
    preset.write_text(f"{text_before}    c = debug.get_config()\n    {line}\n    return c\n")
    given = [f"--logdir={tmp_path / 'new'}"] if command == "train" else []
    task = [CHASE] if command == "check" else []
    assert text in refused(command, *task, f"--config={preset}", *given)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_directory_that_cannot_be_made_is_said(refused, tmp_path, path):
    (tmp_path / "file").write_text("")
    message = refused(*tiny_arguments(CHASE, tmp_path / path))
    assert message.startswith(f"cannot use {tmp_path / path} as a run directory: ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cheap_compile):  # noqa: ARG001
    from dreamer_jax.__main__ import run

    root = tmp_path_factory.mktemp("trained")
    assert run(tiny_arguments(CHASE, root, steps=6)) == 0
    return root


def test_other_config_in_a_directory_is_refused(refused, trained):
    before = disk(trained)
    message = refused(*tiny_arguments(CHASE, trained, steps=6, seed=5, agent__free_nats=2.0))
    assert message.startswith(f"{trained} holds a run with another config (agent.free_nats: 1.0 → ")
    assert "; seed: 0 → 5);" in message
    assert disk(trained) == before


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "evaluate needs --logdir=DIRECTORY of a training run"),
        (["--logdir=nowhere"], "nowhere holds no run: there is no config.json; check --logdir"),
        (["--logdir={}", "--episodes=0"], "--episodes=0; it must be at least 1"),
        (["--logdir={}", "--envs=-2"], "--envs=-2; it must be at least 1"),
        (["--logdir={}", "--seed=-2"], "--seed=-2; it must be at least 0"),
        (["--logdir={}", "--episodes=x"], "flag --episodes=x: invalid literal for int()"),
        (["--logdir={}", "--step=99"], "no whole checkpoint of step 99 in "),
        (["--logdr={}"], "unknown option --logdr; options are --envs, --episodes, --logdir, "),
        (["--logdir={}", "--config.seed=1"], "unknown option --config.seed; options are --envs"),
    ],
)
def test_what_evaluate_cannot_use_is_refused(refused, trained, given, text):
    before = disk(trained)
    given = [argument.format(trained) for argument in given]
    assert refused("evaluate", *given).startswith(text)
    assert disk(trained) == before


def test_damaged_checkpoint_gives_one_line(refused, trained, tmp_path):
    """Reading it warned on top of the error."""
    import shutil

    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    for arrays in root.glob("checkpoints/*/arrays.npz"):
        arrays.write_bytes(b"")
    before = disk(root)
    assert "holds no whole checkpoint: skipped" in refused("evaluate", f"--logdir={root}")
    assert disk(root) == before
    message = refused(*tiny_arguments(CHASE, root, steps=6))
    assert message.startswith(f"no checkpoint in {root / 'checkpoints'} is whole")
    assert disk(root).keys() == before.keys()


def test_arguments_given_count_not_those_of_the_process(tmp_path, monkeypatch):
    """Overrides came from `sys.argv`, whoever called and with what."""
    from dreamer_jax.__main__ import run

    monkeypatch.setattr(sys, "argv", ["somebody", "--config.seed=7"])
    assert run(tiny_arguments(CHASE, tmp_path, steps=6, seed=3)) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["seed"], config["steps"], config["size"]) == (3, 6, "16/8/3/2/8")


@pytest.mark.smoke
def test_process_trains_and_exits_with_0(tmp_path):
    result = process("-m", "dreamer_jax", *tiny_arguments(CHASE, tmp_path, steps=6))
    assert (result.returncode, result.stderr) == (0, "")
    assert "100.0% 6/6" in result.stdout


def test_process_refuses_with_one_line_and_exit_code_2(tmp_path):
    result = process("-m", "dreamer_jax", *tiny_arguments("testing:chas", tmp_path / "new"))
    assert result.returncode == 2
    assert result.stderr.startswith("error: unknown testing environment 'chas'")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
