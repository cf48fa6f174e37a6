"""The one door between host and devices: the compiled functions of the agent, and transfers.

A run on one device compiles without any sharding and pays for none. On several devices updates and
reports run on all of them, with arrays where `mesh.py` puts them. The policy runs on one device of
each process, whose environments are its own: its few rows would not get faster on more.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from dreamer_jax.agent import Agent
from dreamer_jax.device import trees
from dreamer_jax.device.mesh import Placement, gather, make_placement, own_rows
from dreamer_jax.factory import compute_dtype, make_agent
from dreamer_jax.nets.widths import Widths
from dreamer_jax.ops.rows import all_rows
from dreamer_jax.report import OpenLoop, report
from dreamer_jax.types import Carry, Columns, Params, Replayed, Space, Spaces, TrainState

ROLES = ("init", "train", "policy", "evaluation", "report")  # one stream of keys each


class Update(NamedTuple):
    """What one compiled update yields; all arrays may still be in the making."""

    state: TrainState
    acting: dict[str, Any]  # parameters for `policy`, not donated with the state, on one device
    carry: Carry
    latents: Columns  # [B, T, ...] packed
    metrics: jax.Array  # [M] scalars in the order of `Compiled.metric_names` of the phase


class Compiled:
    """The agent's functions behind `jax.jit`; every other file calls these.

    Args:
        agent: Pure functions.
        seed: Root of all keys.
        placement: Devices to spread over, or None for one device.
    """

    def __init__(self, agent: Agent, seed: int = 0, placement: Placement | None = None) -> None:
        self.agent = agent
        self.metric_names: dict[str, list[str]] = {}  # by phase, known once it was traced
        self._placement = placement
        # gloo, the CPU's collectives, deadlocks when programs of several devices overlap.
        crowded = jax.process_count() > 1 and jax.local_device_count() > 1
        self._wait = crowded and jax.default_backend() == "cpu"
        self._keys = {
            role: jax.random.fold_in(jax.random.key(seed), i) for i, role in enumerate(ROLES)
        }
        if jax.process_count() > 1:  # updates share their noise, environments do not
            self._keys["policy"] = jax.random.fold_in(self._keys["policy"], jax.process_index())
        to: dict[str, Any] = {role: {} for role in ("init", "train", "report", "acting")}
        if placement is not None:
            state, rows, whole = placement.state(self.shape()), placement.rows, placement.whole
            shardings: list[Any] = [state, whole, rows, rows, whole]
            update = Update(*shardings)
            results = {"init": state, "train": update, "report": whole, "acting": whole}
            to = {name: {"out_shardings": sharding} for name, sharding in results.items()}
        self._init = jax.jit(agent.init, **to["init"])
        self._train = {
            phase: jax.jit(partial(self._update, phase), donate_argnums=0, **to["train"])
            for phase in agent.phases
        }
        self._policy = jax.jit(self._act, static_argnames="mode")
        self._report = jax.jit(lambda *args: report(agent, *args), **to["report"])
        copy = lambda state: jax.tree.map(jnp.copy, agent.acting_params(state))
        self._acting = jax.jit(copy, **to["acting"])

    def init(self) -> TrainState:
        """Return the state before the first update."""
        return self._init(self._keys["init"])

    def key(self, role: str) -> jax.Array:
        """Return the root of a stream of keys, for loops that call the policy themselves."""
        return self._keys[role]

    def shape(self) -> TrainState:
        """Return shapes and dtypes of the state without computing it."""
        return jax.eval_shape(self.agent.init, self._keys["init"])

    @property
    def phases(self) -> dict[str, float]:
        """Updates of each phase for each update that the train ratio asks for."""
        return {name: phase.share for name, phase in self.agent.phases.items()}

    def initial_carry(self, batch: int) -> Carry:
        """Return the carry of training before anything has been seen."""
        return self.agent.initial_carry(batch)

    def initial_acting_carry(self, batch: int) -> Carry:
        """Return the carry of acting before anything has been seen."""
        return self.agent.initial_acting_carry(batch)

    def acting(self, state: TrainState) -> dict[str, Any]:
        """Return a copy of the parameters that `policy` reads."""
        return self._for_policy(self._acting(state))

    def train(self, phase: str, state: TrainState, carry: Carry, replayed: Replayed) -> Update:
        """Start one update of a phase; `state` is donated and must not be used again.

        Its randomness is a function of the seed and the number of updates done.
        """
        update = self._train[phase](state, carry, replayed, self._keys["train"])
        if self._wait:
            jax.block_until_ready(update)
        return update._replace(acting=self._for_policy(update.acting))

    def policy(
        self,
        params: Any,
        carry: Carry,
        obs: dict[str, np.ndarray],
        is_first: np.ndarray,
        step: int,
        *,
        mode: str = "train",
        role: str = "policy",
    ) -> tuple[Carry, dict[str, jax.Array], Columns]:
        """Choose actions for all environments; see `Agent.policy`.

        Args:
            params: From `acting` or an `Update`.
            carry: `[E, ...]`.
            obs: `[E, ...]` by key.
            is_first: `[E]`.
            step: Call number; with seed and role it determines the randomness.
            mode: `train` or `eval`.
            role: Stream of keys.
        """
        key = self._keys[role]
        return self._policy(params, carry, obs, is_first, key, _wrapped(step), mode=mode)

    def report(self, state: TrainState, carry: Carry, replayed: Replayed, step: int) -> OpenLoop:
        """Return losses and open-loop predictions on a batch; see `report.report`."""
        key = jax.random.fold_in(self._keys["report"], _wrapped(step))
        return jax.block_until_ready(self._report(state, carry, replayed, key))

    def lower_update(
        self, phase: str, state: TrainState, carry: Carry, replayed: Replayed
    ) -> jax.stages.Lowered:
        """Return the program of one update, to be compiled and looked at; shapes are enough."""
        return self._train[phase].lower(state, carry, replayed, self._keys["train"])

    def lower_policy(
        self, params: Params, carry: Carry, obs: dict[str, np.ndarray], is_first: np.ndarray
    ) -> jax.stages.Lowered:
        """Return the program of one policy call, to be compiled and looked at."""
        key = self._keys["policy"]
        return self._policy.lower(params, carry, obs, is_first, key, _wrapped(0), mode="train")

    def cost(
        self, phase: str, state: TrainState, carry: Carry, replayed: Replayed
    ) -> dict[str, float]:
        """Return what XLA says of one update: FLOPs, and bytes at the peak of memory."""
        program = self.lower_update(phase, state, carry, replayed).compile()
        analysis, memory = program.cost_analysis() or {}, program.memory_analysis()
        cost = {"flops": float(analysis.get("flops", 0.0))}
        if memory is not None:  # not every backend tells
            cost["peak_bytes"] = float(memory.temp_size_in_bytes + memory.argument_size_in_bytes)
        return cost

    def put_batch(self, tree: Any) -> Any:
        """Start the transfer of a batch or training carry; its rows are spread over the mesh."""
        return jax.device_put(tree) if self._placement is None else self._placement.put_rows(tree)

    def put_state(self, tree: Any) -> Any:
        """Place a train state that lies on the host, or on one device."""
        return jax.device_put(tree) if self._placement is None else self._placement.put_state(tree)

    def _for_policy(self, acting: Any) -> Any:
        """Return parameters on one device of this process, taken from their copies on all."""
        if self._placement is None:
            return acting
        return jax.tree.map(lambda x: x.addressable_data(0), acting)

    def whole_state(self, state: TrainState) -> Any:
        """Return a train state as host arrays; all processes must ask together."""
        return jax.tree.map(gather, state)

    def exchange(self, *numbers: int) -> np.ndarray:
        """Return the numbers `[processes, …]` of all processes, which must ask together.

        Waits for everything that was started before. Numbers are below 2⁶² and not negative.
        """
        own = np.array([[number >> 31, number & 0x7FFFFFFF] for number in numbers], np.int32)
        if jax.process_count() == 1:
            both = own[None]
        else:
            both = np.asarray(multihost_utils.process_allgather(own))
        return both[..., 0].astype(np.int64) << 31 | both[..., 1]

    def share(self, told: bytes) -> list[bytes]:
        """Return what each process tells, in their order; all must call this together.

        Waits as `exchange` does.
        """
        sizes = self.exchange(len(told))[:, 0].tolist()
        if jax.process_count() == 1:
            return [told]
        padded = np.zeros(1 << max(sizes).bit_length(), np.uint8)  # few shapes, few programs
        padded[: len(told)] = np.frombuffer(told, np.uint8)
        heard = np.asarray(multihost_utils.process_allgather(padded))
        return [row[:size].tobytes() for row, size in zip(heard, sizes, strict=True)]

    def latent_spaces(self) -> dict[str, Space]:
        """Return the columns in which replay stores latents."""
        return dict(self.agent.world_model.dynamics.latent_spaces())

    def _update(
        self, phase: str, state: TrainState, carry: Carry, replayed: Replayed, key: jax.Array
    ) -> Update:
        key = jax.random.fold_in(key, state.grad_steps)
        state, acting, carry, latents, metrics = self.agent.train(
            phase, state, carry, replayed, key
        )
        # One array, so that the host fetches all scalars of an update in one transfer.
        self.metric_names[phase] = sorted(metrics)
        stacked = jnp.stack([metrics[name] for name in self.metric_names[phase]])
        return Update(state, acting, carry, latents, stacked)

    def _act(
        self,
        params: Any,
        carry: Carry,
        obs: dict[str, jax.Array],
        is_first: jax.Array,
        key: jax.Array,
        step: jax.Array,
        mode: str,
    ) -> tuple[Carry, dict[str, jax.Array], Columns]:
        key = jax.random.fold_in(key, step)
        return self.agent.policy(params, carry, obs, is_first, key, mode)


def compile_agent(config: Any, size: Any, spaces: Spaces, *, all_devices: bool = False) -> Compiled:
    """Build the agent that a config describes and compile it.

    Args:
        config: Whole config.
        size: Its row of the size table.
        spaces: Of the environment.
        all_devices: Train on all devices of all processes; acting alone needs one.

    Raises:
        UserError: If an option has no meaning, spaces cannot be learned from, or the devices
            cannot share the batch.
    """
    placement = make_placement(config.mesh.fsdp, config.batch_size) if all_devices else None
    agent = make_agent(
        config.agent,
        Widths.from_size(size),
        spaces,
        dtype=compute_dtype(config.compute_dtype),
        replay_context=config.replay.context,
        by_rows=all_rows if placement is None else placement.by_rows,
    )
    return Compiled(agent, config.seed, placement)


def _wrapped(number: int) -> np.uint32:
    """Return a number that a key is folded by; counts beyond 2³² begin anew."""
    return np.uint32(number & 0xFFFFFFFF)


def debug_nans(wanted: bool) -> AbstractContextManager[Any]:
    """Return a context in which a compiled function that yields a NaN raises, and names it.

    JAX then computes once more, operation by operation, and donates nothing. The context and not
    the global option: JAX forgets the latter's check after the first operation that switches it
    off for itself. Where it is not wanted, what JAX_DEBUG_NANS says stays.
    """
    return jax.debug_nans(True) if wanted else nullcontext()


def start_trace(directory: Path) -> None:
    """Start a profiler trace."""
    jax.profiler.start_trace(str(directory))


def stop_trace(results: Any) -> None:
    """Wait for device arrays, then write the trace."""
    jax.block_until_ready(results)
    jax.profiler.stop_trace()


def to_host(tree: Any) -> Any:
    """Copy a tree of device arrays to NumPy, waiting for what is still in the making.

    Of arrays that are spread over processes by rows: this process's rows.
    """
    return jax.tree.map(own_rows, tree)


def processes() -> tuple[int, int]:
    """Return which process of the run this is, and how many there are."""
    return jax.process_index(), jax.process_count()


def name_arrays(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """Return host copies of a tree's leaves, named by their path; see `to_host` and `trees.py`."""
    return trees.name_arrays(tree, prefix, to_host)
