"""The gathered table and the picture of the learning curves."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scripted_runs import scripted_run, write_metrics

from experiments.sweep.plot import band, draw_curves, read_curve
from experiments.sweep.results import gather, write_results


@pytest.fixture
def runs(tmp_path):
    runs = []
    for rate in ("1", "2"):
        for seed in (3, 5):
            run = scripted_run(tmp_path / rate, "ends", seed)._replace(varied=(("rate", rate),))
            rows = [
                {"policy_steps": steps, "episode/score": float(rate) * steps + seed}
                for steps in range(10, 110, 10)
            ]
            write_metrics(run, [*rows, {"policy_steps": 100, "eval/score": 9.0}])
            runs.append(run)
    return runs


def test_every_score_is_one_row_with_its_options(runs, tmp_path):
    silent = scripted_run(tmp_path, "waits")
    table = gather([*runs, silent])
    assert len(table) == 4 * 11
    assert table[0] == {
        "task": "ends",
        "seed": 3,
        "rate": "1",
        "env_steps": 20,
        "policy_steps": 10,
        "grad_steps": 2,
        "score": 13.0,
        "kind": "episode",
    }
    assert [row["score"] for row in table if row["kind"] == "eval"] == [9.0] * 4
    write_results(tmp_path, table)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == table
    with (tmp_path / "results.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert read == [{key: str(value) for key, value in row.items()} for row in table]
    assert not list(tmp_path.glob(".*.tmp"))


def test_an_empty_table_is_written_too(tmp_path):
    write_results(tmp_path, [])
    assert (tmp_path / "results.jsonl").read_text() == ""


def test_the_band_spans_the_seeds_where_all_have_values():
    curves = [
        (np.array([0.0, 10.0, 20.0]), np.array([0.0, 10.0, 20.0])),
        (np.array([5.0, 15.0]), np.array([1.0, 1.0])),
    ]
    steps, mean, low, high = band(curves)
    assert (steps[0], steps[-1]) == (5.0, 15.0)
    np.testing.assert_allclose(high, steps)
    np.testing.assert_allclose(low, 1.0)
    np.testing.assert_allclose(mean, (steps + 1) / 2)


def test_a_curve_is_thinned_to_means(tmp_path):
    run = scripted_run(tmp_path, "ends")
    rows = [{"policy_steps": s, "episode/score": float(s)} for s in range(1, 401)]
    write_metrics(run, rows)
    steps, scores = read_curve(run)
    np.testing.assert_allclose(scores[:2], [5.5, 15.5])
    np.testing.assert_allclose(steps, 2 * scores)
    assert len(steps) == 40


def test_curves_are_drawn_also_where_runs_have_none(runs, tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    draw_curves(tmp_path / "curves.png", [*runs, scripted_run(tmp_path, "waits")])
    with image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1000, 350)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours  # one for each value of the option
