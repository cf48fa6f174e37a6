"""Where experience comes from: environments that are acted in, or episodes stored before.

An `Origin` is there before the agent, which is built for its spaces. Connected to the compiled
agent and to replay, it becomes a `Source`, which the training loop steps.

    origin = make(...)  →  agent for origin.spaces, replay of origin.streams streams
    source = origin.connect(compiled, replay)  →  source.step(acting parameters), again and again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from dreamer_jax.device.compiled import Compiled
from dreamer_jax.replay import Replay
from dreamer_jax.runtime.episodes import Episode
from dreamer_jax.types import Spaces

State = tuple[dict[str, np.ndarray], dict[str, Any]]  # arrays by name, and host state


class Source(Protocol):
    """Fills a replay; stepped by the training loop.

    Attributes:
        calls: Vector steps done.
        policy_steps: Decisions done; reset records are none.
        repeat: Simulator steps of one decision.
        restarts: Failures of environments so far.
        can_act: Whether there are environments in which the agent can be evaluated.
    """

    @property
    def calls(self) -> int: ...  # noqa: D102

    @property
    def policy_steps(self) -> int: ...  # noqa: D102

    @property
    def repeat(self) -> int: ...  # noqa: D102

    @property
    def restarts(self) -> int: ...  # noqa: D102

    @property
    def can_act(self) -> bool: ...  # noqa: D102

    def step(self, params: Any) -> list[tuple[int, Episode]]:
        """Do one call's vector steps; return (stream, episode) for every episode that ended.

        Args:
            params: Acting parameters, for sources that act.
        """
        ...

    def state(self) -> State:
        """Return what a checkpoint must hold. Names of arrays begin with `policy_`."""
        ...

    def load_state(self, arrays: dict[str, np.ndarray], host: dict[str, Any]) -> list[int]:
        """Continue from `state`; return the streams whose open episode could not be continued."""
        ...

    def deal(self, states: Sequence[State], process: int) -> State:
        """Return the state of this process's streams, from the states of all processes in order.

        Args:
            states: Of another number of processes, as they were saved.
            process: Which process this is.
        """
        ...


class Origin(Protocol):
    """Experience to come, of known spaces.

    Attributes:
        spaces: Of every stream.
        streams: How many streams there are, each with episodes of its own.
        steps: Vector steps of one call of `Source.step`.
        description: Where the experience comes from, in words: `in this process (…)`.
    """

    @property
    def spaces(self) -> Spaces: ...  # noqa: D102

    @property
    def streams(self) -> int: ...  # noqa: D102

    @property
    def steps(self) -> int: ...  # noqa: D102

    @property
    def description(self) -> str: ...  # noqa: D102

    def connect(self, compiled: Compiled, replay: Replay) -> Source:
        """Return the source that fills a replay; called once."""
        ...

    def forgive_failures(self, when: Callable[[], bool]) -> None:
        """Be told when failures do not count, because the run was asked to stop."""
        ...

    def close(self) -> None:
        """Release what the experience needs."""
        ...
