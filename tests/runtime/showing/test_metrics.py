"""Scalars: how they are combined, and that a resume neither doubles nor loses a row."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.showing.metrics import JsonlOutput, Metrics, read_rows


class _Tape:
    def __init__(self):
        self.rows, self.shown, self.closed = [], [], False

    def write(self, row):
        self.rows.append(row)

    def picture(self, name, image, policy_steps):
        self.shown.append(((name, policy_steps), image))

    def video(self, name, frames, policy_steps):
        self.shown.append(((name, policy_steps), frames))

    def close(self):
        self.closed = True


def test_values_are_combined_as_asked_and_forgotten_after_a_write():
    tape = _Tape()
    metrics = Metrics([tape])
    for value in (2.0, np.float32(3), np.array(7)):
        metrics.add({"loss": value}, prefix="train/")
        for how in ("sum", "min", "max", "last"):
            metrics.add({f"train/loss/{how}": value}, how)
    assert metrics.write(22, 11, 5) == {
        "env_steps": 22,
        "policy_steps": 11,
        "grad_steps": 5,
        "train/loss": 4.0,
        "train/loss/sum": 12.0,
        "train/loss/min": 2.0,
        "train/loss/max": 7.0,
        "train/loss/last": 7.0,
    }
    metrics.write(26, 13, 7)
    assert tape.rows[1] == {"env_steps": 26, "policy_steps": 13, "grad_steps": 7}
    metrics.close()
    assert tape.closed


def test_episodes_give_mean_extremes_and_count():
    metrics = Metrics([])
    metrics.add_episode(3.0, 5, {"achieved": 1})
    metrics.add_episode(-1.0, 11, {"achieved": 0})
    row = metrics.write(0, 0, 0)
    assert {name: value for name, value in row.items() if "/" in name} == {
        "episode/score": 1.0,
        "episode/score/min": -1.0,
        "episode/score/max": 3.0,
        "episode/length": 8.0,
        "episode/achieved": 0.5,
        "episode/count": 2.0,
    }


@pytest.mark.parametrize("values", [(math.nan, 1.0), (1.0, math.nan)])
@pytest.mark.parametrize("how", ["min", "max", "mean", "sum"])
def test_nan_is_never_hidden_by_the_order_of_arrival(how, values):
    """Python's min(1, nan) and min(nan, 1) differ; a diverging loss could vanish."""
    metrics = Metrics([])
    for value in values:
        metrics.add({"x": value}, how)
    assert math.isnan(metrics.write(0, 0, 0)["x"])


def test_one_name_has_one_meaning():
    metrics = Metrics([])
    metrics.add({"x": 1}, "max")
    with pytest.raises(ValueError, match="'x' is collected as max, not as mean"):
        metrics.add({"x": 1})
    with pytest.raises(ValueError, match="median"):
        metrics.add({"x": 1}, "median")


def test_pending_values_survive_a_checkpoint():
    """A checkpoint between two writes must not change the next row (exact resume)."""
    through, stopped = Metrics([]), Metrics([])
    for metrics in (through, stopped):
        metrics.add({"x": 0.1})
        metrics.add({"x/max": 5}, "max")
    resumed = Metrics([])
    resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    for metrics in (through, resumed):
        metrics.add({"x": 0.2})
        metrics.add({"x/max": 3}, "max")
    assert through.write(1, 1, 1) == resumed.write(1, 1, 1)


def _row(step, **values):
    return {"env_steps": 2 * step, "policy_steps": step, "grad_steps": step // 2, **values}


def test_each_row_is_on_disk_as_soon_as_it_is_written(tmp_path):
    output = JsonlOutput(tmp_path / "run" / "metrics.jsonl")
    output.write(_row(3, loss=0.5))
    assert list(read_rows(tmp_path / "run" / "metrics.jsonl")) == [_row(3, loss=0.5)]
    output.close()


def test_what_json_cannot_hold_is_null_and_counted(tmp_path):
    output = JsonlOutput(tmp_path / "m.jsonl")
    output.write(_row(3, a=math.nan, b=-math.inf, c=1.0))
    output.write(_row(5, a=1.0))
    output.close()
    text = (tmp_path / "m.jsonl").read_text()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert rows[0] == {**_row(3, a=None, b=None, c=1.0), "nonfinite": 2}
    assert "nonfinite" not in rows[1]


def test_resumed_file_has_each_step_once(tmp_path):
    """Rows written between the checkpoint and the crash are written again by the resumed run."""
    path = tmp_path / "metrics.jsonl"
    first = JsonlOutput(path, {"grad_steps": 0, "policy_steps": 0})
    for step in (2, 4, 5, 6, 8):
        first.write(_row(step))
    first.close()
    second = JsonlOutput(path, {"grad_steps": 2, "policy_steps": 4})  # 5 has grad_steps 2 as well
    for step in (5, 6, 8):
        second.write(_row(step, again=1))
    second.close()
    rows = list(read_rows(path))
    assert [row["policy_steps"] for row in rows] == [2, 4, 5, 6, 8]
    assert ["again" in row for row in rows] == [False, False, True, True, True]


def test_line_broken_by_a_crash_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(_row(3)) + "\n" + '{"env_steps": 1')
    output = JsonlOutput(path)
    output.write(_row(5))
    output.close()
    assert list(read_rows(path)) == [_row(3), _row(5)]


def test_foreign_line_is_named_not_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("{}\nhello\n")
    with pytest.raises(UserError, match=r"metrics.jsonl:2 is not JSON"):
        JsonlOutput(path)
    assert path.read_text() == "{}\nhello\n"


def test_pictures_and_videos_go_to_every_output():
    tapes = [_Tape(), _Tape()]
    metrics = Metrics(list(tapes))
    image, frames = np.zeros((2, 3, 3), np.uint8), np.zeros((5, 2, 3, 3), np.uint8)
    metrics.show_picture("a/b", image, 7)
    metrics.show_video("c/d", frames, 11)
    for tape in tapes:
        (picture, video), rows = tape.shown, tape.rows
        assert picture[0] == ("a/b", 7) and picture[1] is image
        assert video[0] == ("c/d", 11) and video[1] is frames
        assert rows == []


def test_rows_alone_are_lines(tmp_path):
    output = JsonlOutput(tmp_path / "m.jsonl")
    output.picture("a", np.zeros((2, 3, 3), np.uint8), 7)
    output.video("a", np.zeros((5, 2, 3, 3), np.uint8), 7)
    output.close()
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]
    assert (tmp_path / "m.jsonl").read_text() == ""
