"""BSuite's own scores, from the `metrics.jsonl` of runs of its settings.

The suite records totals (return, regret, …) of the first N episodes at spaced episodes and scores
each experiment from them. A row of metrics holds means over its episodes and their number, hence
exact totals at its end; between two rows they are interpolated. Settings and analyses are the
package's, but for deep sea's. Only `best_episode` of `cartpole_noise` contains the reward's noise,
which the suite leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.errors import UserError

_LOGS = "episode/log/"
_SUMS = {"episode/score": "total_return", "episode/length": "steps"}
# The suite records episode 1, 1.2, 1.4, … 9 times each power of ten, where that is whole.
_RATIOS = (1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
_DEEP_SEA = {"deep_sea": (0.9, 0), "deep_sea_stochastic": (0.8, 100)}  # threshold, from episode
_FORGIVEN = 100  # episodes


class Score(NamedTuple):
    """Of one experiment, over the settings that were run."""

    score: float  # from 0 to 1
    settings: int  # that were run
    finished: bool  # whether each had all its episodes


def totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Return totals after the episodes of each row, by the suite's name, from zeros on.

    Args:
        rows: Of `metrics.jsonl`.

    Raises:
        UserError: If no row has a finished episode.
    """
    columns: dict[str, list[float]] = {}
    count, best = [0.0], [-np.inf]
    for row in rows:
        if "episode/count" not in row:
            continue
        number = row["episode/count"]
        count.append(count[-1] + number)
        best.append(max(best[-1], row["episode/score/max"]))
        for key, value in row.items():
            name = key.removeprefix(_LOGS) if key.startswith(_LOGS) else _SUMS.get(key)
            if name is not None:
                column = columns.setdefault(name, [0.0])
                column.append(column[-1] + number * value)
    if len(count) == 1:
        raise UserError("these metrics hold no finished episode; train longer")
    found = {"episode": count, "best_episode": best, **columns}
    return {name: np.array(values) for name, values in found.items()}


def record(setting: str, totals: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the rows that the suite's analysis reads of one setting."""
    from bsuite import sweep

    last = min(totals["episode"][-1], sweep.EPISODES[setting])
    experiment = setting.split(sweep.SEPARATOR)[0]
    fixed = {"bsuite_id": setting, "bsuite_env": experiment, **sweep.SETTINGS[setting]}
    scale = fixed.get("reward_scale", 1.0)
    rows = []
    for episode in _recorded(last):
        row = {
            name: float(np.interp(episode, totals["episode"], values))
            for name, values in totals.items()
            if name != "best_episode"
        }
        after = np.searchsorted(totals["episode"], episode)
        row["best_episode"] = float(totals["best_episode"][after]) / scale
        rows.append({**fixed, **row, "episode": episode})
    return rows


def scores(runs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Score]:
    """Return the score of each experiment by name.

    Args:
        runs: Totals by setting.
    """
    import pandas
    from bsuite import sweep
    from bsuite.experiments.summary_analysis import BSUITE_INFO

    found = {}
    for experiment in sorted({setting.split(sweep.SEPARATOR)[0] for setting in runs}):
        own = {s: t for s, t in runs.items() if s.split(sweep.SEPARATOR)[0] == experiment}
        rows = [row for setting, table in own.items() for row in record(setting, table)]
        finished = all(t["episode"][-1] >= sweep.EPISODES[s] for s, t in own.items())
        if experiment in _DEEP_SEA:
            value = _deep_sea(rows, *_DEEP_SEA[experiment])
        else:
            value = float(BSUITE_INFO[experiment].score(pandas.DataFrame(rows)))
        found[experiment] = Score(value, len(own), finished)
    return found


def _recorded(last: float) -> list[int]:
    """Return the episodes that the suite records, up to the last one."""
    powers = range(int(np.log10(last)) + 1)
    spaced = {ratio * 10**power for power in powers for ratio in _RATIOS}
    return sorted(int(episode) for episode in spaced if episode <= last and episode % 1 == 0)


def _deep_sea(rows: list[dict[str, Any]], threshold: float, since: int) -> float:
    """Return the share of sizes solved before undirected exploration would.

    The suite's own function calls what pandas removed in its version 2.
    """
    solved: dict[int, bool] = {}
    for row in rows:  # by setting, in the order of episodes
        size, episode = row["size"], row["episode"]
        if episode >= since:
            good = row["total_bad_episodes"] / episode < threshold
            early = episode < 2**size + _FORGIVEN
            solved[size] = solved.get(size, False) or (good and early)
    return float(np.mean(list(solved.values()) or [False]))
