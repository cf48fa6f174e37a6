"""`evaluate` says how the agent acted and how well, and leaves the run as it was."""

from __future__ import annotations

import copy
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import disk, tiny_arguments

from dreamer_jax.__main__ import run
from dreamer_jax.commands import evaluate as command
from dreamer_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")

TASK = "gymnasium:CartPole-v1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cheap_compile: None) -> Path:  # noqa: ARG001
    root = tmp_path_factory.mktemp("trained")
    assert run(tiny_arguments(TASK, root, checkpoint__seconds=0.0)) == 0
    return root


def evaluate(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert run(["evaluate", f"--logdir={root}", *options]) == 0
    return capsys.readouterr().out


def test_prints_statistics_and_changes_nothing(trained, capsys):
    before = disk(trained)
    out = evaluate(trained, capsys, "--episodes=5", "--envs=3")
    assert re.fullmatch(
        r"greedy evaluation after \d+ updates: "
        r"mean [\d.]+ \(Student's 95% interval -?[\d.]+ to [\d.]+\), "
        r"median [\d.]+, range [\d.]+ to [\d.]+, 5 episodes\n",
        out,
    )
    assert disk(trained) == before


def test_seed_and_sampling_decide_the_result(trained, capsys, monkeypatch):
    modes = []
    original = command.evaluate

    def spied(*arguments: Any, **options: Any) -> Any:
        modes.append(options["mode"])
        return original(*arguments, **options)

    monkeypatch.setattr(command, "evaluate", spied)
    result = lambda *options: evaluate(trained, capsys, "--episodes=5", "--envs=3", *options)
    assert result() == result() == result("--seed=0")
    assert result() != result("--seed=1")
    sampled = result("--sample")
    assert sampled.startswith("sampled evaluation after") and sampled == result("--sample")
    assert sampled.split(":")[1] != result().split(":")[1]
    assert modes == [*5 * ["eval"], "train", "train", "eval"]


def test_older_checkpoint_can_be_asked_for(trained, capsys):
    steps = sorted(int(path.name) for path in (trained / "checkpoints").iterdir())
    for step in steps:
        out = evaluate(trained, capsys, "--episodes=1", f"--step={step}")
        assert f"after {step} updates" in out
    assert f"after {steps[-1]} updates" in evaluate(trained, capsys, "--episodes=1")


def test_video_shows_one_episode(trained, capsys, tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "agent.mp4"
    out = evaluate(trained, capsys, "--episodes=1", f"--video={path}")
    length = float(re.search(r"mean ([\d.]+)", out)[1])  # CartPole pays 1 a step
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == length and not np.array_equal(pictures[0], pictures[-1])
    assert f"video: {path}" in out


def test_environment_without_pictures_is_said(tmp_path, capsys):
    """`--video` wrote no file and said nothing."""
    assert run(tiny_arguments("testing:counting", tmp_path, steps=3)) == 0
    path = tmp_path / "agent.mp4"
    out = evaluate(tmp_path, capsys, "--episodes=1", f"--video={path}")
    assert "no video: the environment shows no picture" in out and not path.exists()


HOSTILE = """
from dreamer_jax.envs.testing.counting import Counting

def env():
    return Counting()
"""


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory as somebody sends it, whose task names a module beside it."""
    assert run(tiny_arguments("testing:counting", tmp_path / "sent", steps=3)) == 0
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sent_code.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "sent_code", raising=False)
    rewrite(tmp_path / "sent", lambda config: config.update(task="sent_code:env"))
    return tmp_path / "sent"


def rewrite(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def test_code_that_a_run_names_is_run_only_for_whoever_says_so(sent, capsys):
    """Evaluating an agent that was sent ran what its sender had written."""
    with pytest.raises(UserError, match=r"'sent_code:env' would run code .*--trust"):
        run(["evaluate", f"--logdir={sent}", "--episodes=1"])
    assert "sent_code" not in sys.modules
    for option in ("--task=sent_code:env", "--trust"):
        sys.modules.pop("sent_code", None)
        assert "1 episode\n" in evaluate(sent, capsys, "--episodes=1", option)
        assert "sent_code" in sys.modules


def test_a_task_on_the_command_line_does_not_vouch_for_other_code(sent):
    rewrite(sent, lambda config: config["agent"].update(dynamics="sent_code:env"))
    with pytest.raises(UserError, match=r"config\.agent\.dynamics='sent_code:env' .*--trust"):
        run(["evaluate", f"--logdir={sent}", "--episodes=1", "--task=testing:counting"])
    assert "sent_code" not in sys.modules


def test_another_task_can_be_evaluated_in(trained, capsys):
    own = evaluate(trained, capsys, "--episodes=3")
    assert evaluate(trained, capsys, "--episodes=3", f"--task={TASK}") == own
    config = json.loads((trained / "config.json").read_text())
    assert config["task"] == TASK


FRAIL = """
from dreamer_jax.envs.testing.counting import Counting

class Env(Counting):
    def render(self):
        raise RuntimeError("no display")

    def close(self):
        raise RuntimeError("closed twice")
"""


def test_what_cannot_be_drawn_or_closed_does_not_cost_the_scores(tmp_path, monkeypatch, capsys):
    """Hours of episodes were lost to a renderer without a display, or to a close that raised."""
    (tmp_path / "frail_env.py").write_text(FRAIL)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"steps": 6, "evaluation__episodes": 2, "evaluation__video": True}
    assert run(tiny_arguments("frail_env:Env", tmp_path / "run", **options)) == 0
    out = capsys.readouterr().out
    assert out.count("no video: the environment could not be drawn (RuntimeError: no display)") == 1
    assert "greedy evaluation: mean " in out and "closed twice" in out
    video = f"--video={tmp_path / 'agent.mp4'}"
    # Tests turn warnings into errors: a Python warning about the close would cost the scores.
    out = evaluate(tmp_path / "run", capsys, "--episodes=3", "--trust", video)
    assert "RuntimeError: no display" in out and ", 3 episodes" in out and "closed twice" in out
    assert not (tmp_path / "agent.mp4").exists()


def test_scores_are_told_before_the_video_is_tried(trained, capsys, monkeypatch, tmp_path):
    """Where PyAV is missing, the evaluation was done and nobody heard of it."""
    monkeypatch.setitem(sys.modules, "av", None)
    capsys.readouterr()
    video = f"--video={tmp_path / 'agent.mp4'}"
    with pytest.raises(UserError, match="PyAV"):
        run(["evaluate", f"--logdir={trained}", "--episodes=1", video])
    assert "greedy evaluation after" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (
            "gymnasium:Pendulum-v1",
            "'vector' is float32[3] in this task and float32[4] to the agent",
        ),
        ("testing:counting", "'index' is int32[] with 6 classes in this task and absent to the"),
    ],
)
def test_a_task_that_the_agent_does_not_know_is_one_line(trained, task, text):
    """A KeyError or a TypeError out of the compiled policy."""
    with pytest.raises(UserError, match=re.escape(f"observation {text}")) as refused:
        run(["evaluate", f"--logdir={trained}", "--episodes=1", f"--task={task}"])
    assert "\n" not in str(refused.value)


def test_spaces_that_do_not_fit_are_one_line(trained, tmp_path):
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    table = json.loads((root / "spaces.json").read_text())
    for change, text in [
        ({"classes": 3}, "in the checkpoint but"),
        ({"dtype": "uint8"}, "'action' is int32.* in this task and uint8"),
        ({"shape": [1]}, "'action' is int32.* in this task and int32.1.|in the checkpoint but"),
    ]:
        changed = copy.deepcopy(table)
        changed["action"]["action"] |= change
        (root / "spaces.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=text):
            run(["evaluate", f"--logdir={root}", "--episodes=1"])
