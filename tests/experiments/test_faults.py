"""The short form of the kill campaign, and proof that its judge is not blind."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.vector.vector_env import episode_seed
from experiments.faults.__main__ import main, table
from experiments.faults.judge import Verdict, compare
from experiments.faults.kills import plan
from experiments.faults.launcher import PHASES, file_phase
from experiments.faults.soak import slopes
from experiments.faults.taped import RESET, Line

WHOLE = 5  # records of an episode


def tape(environment: int = 0, records: int = 13, process: int = 0) -> list[Line]:
    """Return the first records of an environment, whose actions count up."""
    numbers = [divmod(i, WHOLE) for i in range(records)]
    return [
        Line(episode_seed(7, process, environment, episode), step, i if step else RESET)
        for i, (episode, step) in enumerate(numbers)
    ]


def test_judge_finds_nothing_where_nothing_is_wrong():
    lines = [*tape(0), *tape(1)]
    assert compare([tape(0, 12), tape(1, 12)], lines, 7) == Verdict(committed=24)
    # Steps done again in the same way, after a resume from an earlier checkpoint.
    again = [*lines, *tape(0)[4:]]
    assert compare([tape(0), tape(1, 3)], again, 7) == Verdict(committed=16, unsaved=8)
    assert compare([], [], 7) == Verdict()
    assert compare([[], []], lines, 7) == Verdict(unsaved=24)
    # What a kill has cost before the newest start is not held against a stop right after it.
    assert compare([tape(0), tape(1, 3)], again, 7, since=26) == Verdict(committed=16)
    assert compare([tape(0, 3)], tape(), 7, since=8) == Verdict(committed=3, unsaved=4)


def test_judge_knows_the_environments_of_every_process():
    streams = [tape(0), tape(1), tape(0, process=1), tape(1, process=1)]
    lines = [line for stream in streams for line in stream]
    assert compare(streams, lines, 7, processes=2) == Verdict(committed=52)
    assert compare(streams, lines, 7, processes=1).lost > 0
    assert compare([streams[i] for i in (0, 2, 1, 3)], lines, 7, processes=2).lost > 0


@pytest.mark.parametrize("reached", [0, 1])
def test_judge_forgives_an_end_of_an_episode_only_where_its_simulator_was_killed(reached):
    """The step that was under way may be on the tape and in no record."""
    cut = tape()
    del cut[8 - reached : 10]  # the second of three episodes, of five records
    told = [line for line in tape() if line not in tape()[8:10]]
    assert compare([cut], told, 7, cuts=True) == Verdict(committed=11 - reached)
    assert compare([cut], told, 7).lost == 2 + reached
    del cut[6]
    assert compare([cut], told, 7, cuts=True).lost == 1, "what is missing within it is lost"
    assert compare([cut], tape(), 7, cuts=True).lost > 1, "the tape knows more of the episode"


def test_judge_forgives_an_episode_that_was_killed_before_its_reset():
    stored = [*tape()[:5], *tape()[10:]]
    assert compare([stored], stored, 7, cuts=True) == Verdict(committed=8)


@pytest.mark.parametrize("gone", [0, 3, 4, 5, 7])
def test_judge_finds_a_lost_record(gone):
    stored = tape()
    del stored[gone]
    assert compare([stored], tape(), 7) == Verdict(committed=12, lost=1)


def test_judge_finds_a_lost_episode():
    found = compare([[*tape()[:5], *tape()[10:]]], tape(), 7)
    assert found == Verdict(committed=8, lost=5, unsaved=4)


def test_judge_finds_doubled_swapped_and_altered_records():
    stored = tape()
    assert compare([[*stored[:3], *stored[2:]]], tape(), 7) == Verdict(committed=14, doubled=1)
    swapped = [*stored[:2], stored[3], stored[2], *stored[4:]]
    assert compare([swapped], tape(), 7) == Verdict(committed=13, unlike=2)
    stored[4] = stored[4]._replace(action=99)
    assert compare([stored], tape(), 7) == Verdict(committed=13, unlike=1)
    other_stream = compare([tape(1)], [*tape(0), *tape(1)], 7)
    assert other_stream.lost > 0


def test_judge_finds_steps_that_were_done_again_in_another_way():
    lines = [*tape(), tape()[3]._replace(action=99)]
    assert compare([tape(0, 3)], lines, 7) == Verdict(committed=3, diverged=1, unsaved=9)
    assert compare([tape()], lines, 7) == Verdict(committed=13, diverged=1, unlike=1)


def test_plan_strikes_every_phase_twice_at_least():
    phases = [phase for phase, _ in plan(30, 0)]
    assert len(phases) == 30 and {*phases} == {*PHASES}
    assert min(map(phases.count, PHASES)) >= 2
    assert sorted(phase for phase, _ in plan(6, 0)) == sorted(PHASES)
    # Filling is over once the first batch was drawn.
    assert phases[0] == "filling" and "filling" not in phases[phases.count("filling") :]


@pytest.mark.parametrize(
    ("operation", "paths", "phase"),
    [
        ("fsync", ["/r/replay/stream000-records-000-7-ab.blk.12-34.tmp"], "writing"),
        ("fsync", ["/r/checkpoints/.tmp-000000000003-77/arrays.npz"], "writing"),
        ("fsync", ["/r/checkpoints"], None),
        ("replace", ["/r/replay/s.blk.12-34.tmp", "/r/replay/s.blk"], "renaming"),
        ("rename", ["/r/checkpoints/.tmp-3-77", "/r/checkpoints/000000000003"], "renaming"),
        ("rename", ["/r/checkpoints/000000000003", "/r/checkpoints/.old-03"], "renaming"),
        ("rename", ["/r/checkpoints/000000000003", "/r/checkpoints/.trash-03"], "deleting"),
        ("unlink", ["/r/checkpoints/.trash-000000000003/host.json"], "deleting"),
        ("unlink", ["/r/replay/stream000-records-000-7-ab.blk"], "deleting"),
        ("unlink", ["/tmp/else"], None),
    ],
)  # fmt: skip
def test_files_tell_the_phase(operation, paths, phase):
    assert file_phase(operation, *paths) == phase


def test_soak_tells_growth_from_noise():
    rng, updates = np.random.default_rng(0), np.arange(0.0, 2e5, 1e3)
    steady = np.stack(
        [
            updates,
            updates * 0.01 + rng.normal(0, 0.01, 200),
            300 + rng.normal(0, 0.5, 200),
            11 + rng.integers(0, 3, 200),
            7 + rng.integers(0, 2, 200),
        ],
        1,
    )
    row = slopes(steady)
    assert row["as promised"] and abs(row["MiB per 1e5"]) < 1 and row["ms an update"] == 10
    paused = steady + np.array([0, 500, 0, 0, 0]) * (updates[:, None] > 1e5)
    assert slopes(paused)["as promised"]
    for column, growth in ((1, 1e-8 * updates**2), (2, updates * 3e-4), (3, updates > 1e5)):
        grown = steady.copy()
        grown[:, column] += growth
        assert not slopes(grown)["as promised"]
    grown[:, 4] += 3 * (updates > 1e5)
    assert not slopes(grown)["as promised"]


def test_table_has_a_column_for_every_name():
    assert table([{"a": 1, "b": 22}, {"c": "x"}]) == "a   b  c\n1  22   \n       x"


def test_killed_in_every_phase_it_resumes_and_ends_as_if_nothing_had_been(tmp_path, capsys):
    code = main(["kill", "--kills=6", "--steps=120", f"--folder={tmp_path}"])
    out = capsys.readouterr().out
    assert code == 0, out
    rows = [line.split() for line in out.splitlines()[-7:]]
    assert [row[0] for row in rows] == [*("filling", "compiling", "updating"),
        *("writing", "renaming", "deleting", "(finished)")]  # fmt: skip
    assert [row[1] for row in rows] == 6 * ["kill"] + ["-"]
    assert all(row[2] == "1" and {*row[3:-1]} == {"0"} and row[-1] == "True" for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("setup", "ends", "steps"),
    [
        ("workers", "group-stop,group-kill,kill", 200),
        ("workers", "worker", 900),
        ("two", "group-stop,kill,stop-all", 300),
    ],
)
def test_whatever_is_killed_or_stopped_nothing_is_lost(tmp_path, capsys, setup, ends, steps):
    options = [f"--setup={setup}", f"--ends={ends}", "--kills=6", f"--steps={steps}"]
    assert main(["kill", *options, f"--folder={tmp_path}"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--ends=maim"], ["--ends=worker"], ["--ends=worker", "--setup=two"]]
)
def test_ends_that_cannot_be_are_refused(options, capsys):
    with pytest.raises(SystemExit):
        main(["kill", *options])
    assert "--ends=" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_signals_stop_it_politely_and_twice_at_once(tmp_path, capsys):
    assert main(["signal", "--steps=300", f"--folder={tmp_path}"]) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_compile")
def test_soak_runs(tmp_path, capsys):
    main(["soak", "--updates=400", f"--folder={tmp_path}"])
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "400"
