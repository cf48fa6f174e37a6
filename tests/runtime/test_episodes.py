"""Episodes of all processes together."""

from __future__ import annotations

import math
from typing import Any

from meeting import Meeting, together

from dreamer_jax.runtime.episodes import Episode, pool

OWN = [
    [Episode(0.1 + 0.2, 5, {"log/achieved": 1 / 3})],
    [],
    [Episode(-1e300, 2**40, {}), Episode(math.inf, 0, {"log/other": math.nan})],
]


def test_every_process_hears_of_all_episodes_in_the_order_of_the_processes():
    """Each has another number of them, and logs of its own; floats arrive to the last bit."""

    def run(index: int, meeting: Meeting) -> Any:
        counts = {"restarts": index, "size": 10**12}
        return pool(meeting.share(index), OWN[index], counts)

    for episodes, sums in together(run, len(OWN)):
        assert repr(episodes) == repr([episode for own in OWN for episode in own])
        assert sums == {"restarts": 3, "size": 3 * 10**12}


def test_one_process_is_all_of_them():
    assert pool(lambda told: [told], OWN[0], {"size": 7}) == (OWN[0], {"size": 7})
