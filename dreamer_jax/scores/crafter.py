"""The Crafter score of a run, from its `metrics.jsonl`.

    score = exp( mean over achievements of ln(1 + rate) ) − 1,    rates in percent of episodes

(Hafner, Benchmarking the Spectrum of Agent Capabilities, 2021). The benchmark takes all episodes of
a budget of 1M steps. A row holds means over its episodes and their number; so the rates of a run
are means of its rows weighted by those numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from dreamer_jax.errors import UserError

PREFIX = "episode/log/achievement_"


def crafter_score(rates: Iterable[float]) -> float:
    """Return the score in percent from success rates in percent."""
    logs = [math.log1p(rate) for rate in rates]
    return math.expm1(math.fsum(logs) / len(logs))


def achievement_rates(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the share of episodes that unlocked each achievement, in percent, by name.

    Args:
        rows: Of `metrics.jsonl`.

    Raises:
        UserError: If no row has a finished episode of Crafter.
    """
    sums: dict[str, float] = {}
    episodes = 0
    for row in rows:
        found = {key: value for key, value in row.items() if key.startswith(PREFIX)}
        if found:
            number = row["episode/count"]
            episodes += number
            for key, value in found.items():
                name = key.removeprefix(PREFIX)
                sums[name] = sums.get(name, 0.0) + number * value
    if not episodes:
        raise UserError("these metrics hold no finished episode of Crafter; train longer")
    return {name: 100 * total / episodes for name, total in sorted(sums.items())}
