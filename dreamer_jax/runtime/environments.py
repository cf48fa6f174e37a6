"""Environments as an origin of experience, and the driver that fits them.

The one place of the host that asks what a task is: environments written in JAX are stepped on the
device, all others by the host. Everything else meets drivers and vector environments through the
members that both kinds have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from dreamer_jax.device.compiled import Compiled
from dreamer_jax.device_envs.host import HostEnv
from dreamer_jax.device_envs.vector import DeviceVectorEnv
from dreamer_jax.envs.faults import FaultPolicy
from dreamer_jax.envs.registry import in_jax, make_env
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.errors import UserError
from dreamer_jax.replay import Replay
from dreamer_jax.runtime.device_driver import DeviceDriver
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.types import Spaces

Envs = VectorEnv | DeviceVectorEnv


def make_envs(
    config: Any,
    number: int,
    *,
    seed: int,
    process: int = 0,
    watched: bool = False,
    warn: Callable[[str], None] = print,
) -> Envs:
    """Make the environments of a config's task.

    Args:
        config: Whole config.
        number: How many.
        seed: Of the run.
        process: Index of the host process.
        watched: Whether `render` will be called after every vector step; keeps environments in
            this process, and those on the device to one step a call.
        warn: Receives one-line messages about environments that failed.

    Raises:
        UserError: If the task or an option is wrong.
    """
    make = partial(make_env, config.task, **config.env.to_dict())
    if config.device_steps and in_jax(config.task):
        env = make()
        if isinstance(env, HostEnv):
            if config.faults.invalid_values == "drop":
                raise UserError(
                    "config.faults.invalid_values=drop: environments in JAX cannot be built again "
                    "in the middle of a loop; say error, or step them by --config.device_steps=0"
                )
            steps = 1 if watched else config.device_steps
            return DeviceVectorEnv(env.device_env, number, seed=seed, process=process, steps=steps)
        _close(env, warn)
    return VectorEnv(
        make,
        number,
        seed=seed,
        process=process,
        workers="inline" if watched else config.env_workers,
        faults=FaultPolicy.from_config(config.faults),
        warn=warn,
    )


def _close(env: Env, warn: Callable[[str], None]) -> None:
    """Close an environment that was only asked what it is; that it cannot must not end a run."""
    try:
        env.close()
    except (Exception, SystemExit) as error:  # simulators leave by sys.exit, too
        warn(f"an environment could not be closed: {type(error).__name__}: {error}")


def make_driver(
    envs: Envs,
    compiled: Compiled,
    replay: Replay | None,
    *,
    mode: str = "train",
    role: str = "policy",
) -> Driver | DeviceDriver:
    """Return the driver of these environments.

    Args:
        envs: Freshly made.
        compiled: Supplies the policy.
        replay: Receives the records, if given.
        mode: Of the policy, `train` or `eval`.
        role: Stream of keys that the policy draws from.
    """
    if isinstance(envs, DeviceVectorEnv):
        insert = None if replay is None else replay.add_many
        return DeviceDriver(envs, compiled, insert, mode=mode, role=role)
    return Driver(envs, compiled, None if replay is None else replay.add, mode=mode, role=role)


@dataclass(frozen=True)
class Environments:
    """The environments of a process; implements `Origin`."""

    envs: Envs

    @property
    def spaces(self) -> Spaces:
        """Of each environment."""
        return self.envs.spaces

    @property
    def streams(self) -> int:
        """Number of environments."""
        return self.envs.number

    @property
    def steps(self) -> int:
        """Vector steps of one call."""
        return self.envs.steps

    @property
    def description(self) -> str:
        """How many, and where they run."""
        return f"{self.envs.number} environments {self.envs.mode_reason}"

    def connect(self, compiled: Compiled, replay: Replay) -> Driver | DeviceDriver:
        """Return the driver that acts in them."""
        return make_driver(self.envs, compiled, replay)

    def forgive_failures(self, when: Callable[[], bool]) -> None:
        """Do not count failures while a stop is asked for: its signal may end their processes."""
        self.envs.forgive_failures(when)

    def close(self) -> None:
        """Close them."""
        self.envs.close()


def open_environments(
    config: Any, share: Any, process: int, warn: Callable[[str], None]
) -> Environments:
    """Return the environments of this process; arguments as of every maker of an `Origin`.

    Args:
        config: Whole config.
        share: The config with this process's share of environments.
        process: Index of the host process.
        warn: Receives one-line messages.
    """
    envs = make_envs(config, share.envs, seed=config.seed, process=process, warn=warn)
    return Environments(envs)
