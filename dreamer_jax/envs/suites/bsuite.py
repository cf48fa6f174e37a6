"""BSuite, DeepMind's small experiments: `bsuite:<experiment>/<setting>`, such as `bsuite:catch/0`.

An episode is a function of its seed: every random state below the wrappers is reseeded, while what
belongs to the setting (mappings of actions, parameters) stays. The last record of an episode says
by how much it moved each total that the suite scores, as `log/TOTAL`; `dreamer-jax score` adds them
up and scores them with the suite's own analysis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from bsuite import bsuite, sweep

from dreamer_jax.envs.adapters.dm_environment import DmEnvironment
from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record

_NEEDS_DATA = "mnist"  # these experiments read pictures that are not part of the package
# The best episode is no total; it is found in the scores.
_NO_TOTALS = ("best_episode",)


def names() -> list[str]:
    """Return every setting that can be built."""
    return [name for name in sweep.SWEEP if not name.startswith(_NEEDS_DATA)]


def make(name: str, /) -> BSuite:
    """Build a setting of an experiment.

    Args:
        name: For example `deep_sea/7`.

    Raises:
        UserError: For an unknown name, or an experiment whose data is not in the package.
    """
    if name.startswith(_NEEDS_DATA):
        raise UserError(f"bsuite:{name} needs the MNIST files, which bsuite does not bring along")
    if name not in sweep.SWEEP:
        raise unknown_name("bsuite setting", name, names())
    experiment = name.split(sweep.SEPARATOR)[0]
    return BSuite(bsuite.load(experiment, sweep.SETTINGS[name]))


class BSuite(DmEnvironment):
    """A setting of an experiment."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._totals = self._read_totals()

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        self._totals = self._read_totals()
        return super().reset(seed)

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        record = super().step(action)
        if record["is_last"]:
            for key, total in self._read_totals().items():
                record[f"log/{key}"] = np.asarray(total - self._totals[key], np.float32)
        return record

    def _reseed(self, seed: int) -> None:
        for layer, random in enumerate(_random_states(self._environment)):
            random.seed(np.random.SeedSequence([seed, layer]).generate_state(4))

    def _read_totals(self) -> dict[str, float]:
        environment: Any = self._environment
        info = environment.bsuite_info()
        return {key: float(value) for key, value in info.items() if key not in _NO_TOTALS}


def _random_states(environment: Any) -> Iterator[np.random.RandomState]:
    """Yield the random states that episodes draw from, wrappers before what they wrap."""
    while environment is not None:
        # Wrappers hand attributes on, so that asking them would give the same state twice.
        own = vars(environment)
        if isinstance(random := own.get("_rng"), np.random.RandomState):
            yield random
        environment = own.get("_env")
