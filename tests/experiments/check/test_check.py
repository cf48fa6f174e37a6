"""Whole checks as a person starts them, of commands that end at once and of the smallest runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tiny_run import small_options

from dreamer_jax.errors import UserError
from experiments.check.__main__ import main
from experiments.check.declare import load, names
from experiments.check.results import read_results
from experiments.check.runs import plan_runs

ROOT = Path(__file__).resolve().parents[3]

# Writes one number and counts how often it was started. `{worse}` is what the control loses.
FAKE = """
import pathlib

from experiments.check.declare import Arm, Check

SCRIPT = '''
import os, pathlib, sys, time
root, score, seed = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
with (root / "starts").open("a") as file:
    file.write("x")
if {fails} and seed == 1 and score < 5:
    sys.exit("no score today")
while {waits} and not os.path.exists("go-" + root.parent.name):
    time.sleep(0.01)
(root / "score").write_text(str(score + seed / 10))
'''


def arm(score):
    return Arm(command=lambda run, seed: ["-c", SCRIPT, str(run), str(score), str(seed)])


def measure(run):
    return float((run / "score").read_text())


CHECK = Check(
    claim="the system scores more",
    kind="{kind}",
    arms={{
        "system": arm(9),
        "control": arm(9 - {worse}),
        "halved": Arm(reads="system", measure=lambda run: measure(run) / 2),
    }},
    pairs=[("system", "control"), ("system", "halved")],
    measure=measure,
    measured="points",
    minutes=0.5,
    seeds="0-2",
)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Return a function that writes a check and returns the path of its file."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)

    def write(worse=8.0, kind="S", fails=False, waits=False) -> str:
        text = textwrap.dedent(FAKE).format(worse=worse, kind=kind, fails=fails, waits=waits)
        (tmp_path / "fake.py").write_text(text)
        return str(tmp_path / "fake.py")

    return write


def starts(out: Path) -> dict[str, int]:
    found = out.glob("*/seed*/starts")
    return {f"{p.parts[-3]}/{p.parts[-2]}": len(p.read_text()) for p in found}


def test_a_check_prints_every_arm_of_every_seed_and_its_verdict(fake, tmp_path, capsys):
    assert main([fake(), "--jobs=2", f"--json={tmp_path / 'all.json'}"]) == 0
    out = capsys.readouterr().out
    stated, concluded = out.split("system seed 0: running", 1)
    assert "fake (class S): the system scores more" in stated
    assert "rule: every interval of system − control above 0\n" in stated
    assert "6 runs, budget 0.5 minutes on 2 cores" in stated
    assert concluded[concluded.index("arm ") :] == textwrap.dedent(
        """\
        arm      seed 0  seed 1  seed 2  mean
        system   9       9.1     9.2     9.1
        control  1       1.1     1.2     1.1
        halved   4.5     4.55    4.6     4.55
        system − control, difference: mean +8 of +8 +8 +8
          95 % intervals: bootstrap [8, 8], Student [8, 8]; judged by [8, 8]
        system − halved, difference: mean +4.55 of +4.5 +4.55 +4.6
          95 % intervals: bootstrap [4.5, 4.6], Student [4.426, 4.674]; judged by [4.426, 4.674]
        verdict: shown
        """
    )
    result = read_results(tmp_path / "all.json")["fake"]
    assert (result["verdict"], result["class"]) == ("shown", "S")
    assert result["arms"]["system"]["values"] == {"0": 9.0, "1": 9.1, "2": 9.2}
    assert result["comparisons"][0]["interval"] == pytest.approx([8, 8])
    assert result["command"] == "python -m experiments.check fake --seeds=0-2"
    assert {"python", "jax", "flax", "numpy"} == set(result["versions"])
    assert starts(tmp_path / "runs" / "checks" / "fake").keys() == {
        f"{arm}/seed{seed}" for arm in ("system", "control") for seed in range(3)
    }


@pytest.mark.parametrize(
    ("worse", "kind", "code", "word"),
    [(-1.0, "S", 1, "not shown"), (-1.0, "O", 0, "reported")],
)
def test_a_control_that_does_not_lose_is_said(fake, capsys, worse, kind, code, word):
    assert main([fake(worse, kind), "--seeds=0,5"]) == code
    assert f"verdict: {word}\n" in capsys.readouterr().out


def test_the_same_directory_continues_and_results_stand_beside_others(fake, tmp_path, capsys):
    results, out = tmp_path / "all.json", tmp_path / "runs here"
    arguments = [fake(), f"--out={out}", f"--json={results}"]
    results.write_text(json.dumps({"older": {"verdict": "reported"}, "fake": {"verdict": "x"}}))
    assert main([*arguments, "--seeds=0"]) == 1  # one seed shows nothing
    assert "[-inf, inf]" in capsys.readouterr().out
    known = read_results(results)
    assert known["older"] == {"verdict": "reported"}
    assert known["fake"]["comparisons"][0]["interval"] == [None, None]
    assert main([*arguments, "--seeds=0-2"]) == 0
    assert set(starts(out).values()) == {1} and len(starts(out)) == 6


def test_a_failed_run_leaves_the_check_incomplete_until_it_is_retried(fake, tmp_path, capsys):
    assert main([fake(fails=True)]) == 1
    out = capsys.readouterr().out
    assert "control  1       –       1.2     –" in out and "verdict: incomplete\n" in out
    assert "control seed 1 failed with exit code 1" in out and "no score today" in out
    path = fake()
    assert main([path]) == 1  # the failed run is left alone
    assert main([path, "--retry"]) == 0
    folder = tmp_path / "runs" / "checks" / "fake"
    assert starts(folder)["control/seed1"] == 2 and sum(starts(folder).values()) == 7


def test_an_interrupted_check_goes_on(fake, tmp_path):
    """The second command finds the finished runs and starts only what was cut off."""
    command = [sys.executable, "-m", "experiments.check", fake(waits=True), "--jobs=1"]
    (tmp_path / "go-system").touch()
    begun = tmp_path / "runs" / "checks" / "fake" / "control" / "seed0" / "starts"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as check:
        while not begun.exists():
            assert check.poll() is None
            time.sleep(0.01)
        check.send_signal(signal.SIGINT)
        out = check.communicate()[0]
    assert check.returncode == 75 and "verdict" not in out
    (tmp_path / "go-control").touch()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and "verdict: shown" in again.stdout
    counts = starts(tmp_path / "runs" / "checks" / "fake")
    assert counts["control/seed0"] == 2 and sum(counts.values()) == 7


TRAINED = """
from experiments.check.declare import Arm, Check
from experiments.check.measures import late_mean, option

CHECK = Check(
    claim="the scale of rewards is that of scores",
    kind="S",
    arms={{"ten": Arm({{"env.reward_scale": 10.0}}), "one": Arm({{"env.reward_scale": 1.0}})}},
    pairs=[("ten", "one")],
    measure=late_mean("episode/score", 1.0),
    measured="mean score",
    minutes=1,
    preset="debug",
    options={{**{options}, "task": "testing:chase"}},
)
"""


def test_arms_are_trained_by_the_real_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "trained.py").write_text(TRAINED.format(options=small_options()))
    arguments = [str(tmp_path / "trained.py"), "--seeds=3", f"--out={tmp_path}", "--jobs=2"]
    assert main(arguments) == 1  # one seed shows nothing
    out = capsys.readouterr().out
    assert "testing:chase arm=ten seed 3: finished" in out
    table = out[out.index("\narm ") :].splitlines()[2:4]
    values = {line.split()[0]: float(line.split()[1]) for line in table}
    assert 0 < 2 * values["one"] < values["ten"]
    config = json.loads((tmp_path / "ten/testing-chase/seed3/config.json").read_text())
    assert (config["env"]["reward_scale"], config["seed"]) == (10.0, 3)


def test_the_list_names_every_check_with_its_last_result(tmp_path, capsys):
    results = {"reward_scale": {"verdict": "not shown", "date": "2031-07-05"}}
    (tmp_path / "some.json").write_text(json.dumps(results))
    for where in (tmp_path, tmp_path / "some.json", tmp_path / "nowhere.json"):
        assert main(["--list", f"--results={where}"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["check", "class", "budget", "last", "result"]
        assert [line.split()[0] for line in lines[1:]] == names()
        found = {line.split()[0]: line for line in lines[1:]}
        last = "none" if where.name == "nowhere.json" else "not shown, 2031-07-05"
        assert found["reward_scale"].endswith(f"  S      10 min  {last}")
        assert found["replay_context"].endswith("none") and "  O  " in found["replay_context"]


@pytest.mark.parametrize("name", names())
def test_every_check_that_ships_can_be_planned_and_keeps_the_limits(name, tmp_path):
    check = load(name)
    assert plan_runs(check, [0, 1], tmp_path)
    assert 0 < check.minutes <= 30
    assert list(tmp_path.iterdir()) == []


def test_the_example_in_the_documentation_is_a_check(tmp_path):
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    (tmp_path / "example.py").write_text(example)
    check = load(str(tmp_path / "example.py"))
    runs = plan_runs(check, [5], tmp_path)
    assert runs.keys() == {"slow", "none"} and check.kind == "S"
    assert "--config.agent.slow_rate=1.0" in runs["none"][5].arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a check, or ask for --list"),
        (["reward_scales"], "unknown check 'reward_scales'; close to it: reward_scale"),
        (["nowhere.py"], "there is no file nowhere.py"),
        (["reward_scale", "--seeds=x"], "neither a seed nor a range"),
        (["reward_scale", "--jobs=-1"], "--jobs=-1"),
    ],
)
def test_bad_input_is_one_message(arguments, message):
    with pytest.raises(UserError, match=message):
        main(arguments)


def test_a_file_of_something_else_is_not_overwritten(fake, tmp_path):
    (tmp_path / "notes.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="does not hold results of checks"):
        main([fake(), "--seeds=0,1", f"--json={tmp_path / 'notes.json'}"])
    assert (tmp_path / "notes.json").read_text() == '{"a": 1}'
    assert not (tmp_path / "runs").exists()  # it is said before anything runs
