"""Where arrays live on several devices: one mesh, axes `data` and `fsdp`.

    rows        [B, ...], [N, ...]   over both axes
    state       every large tensor over `fsdp`, along its largest axis that divides evenly
    parameters  whole on every device while functions of rows read them

Functions of rows run on each device with the rows of that device (`Placement.by_rows`). A
recurrence therefore needs no communication, and the devices sum the gradients of the weights once,
after the recurrence. XLA's partitioner, left alone, would sum them in every step of the backward
scan. Everything between functions of rows (means, percentiles, norms, the optimiser) is global, and
XLA partitions it: hence the axis types Auto.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dreamer_jax.errors import UserError

AXES = ("data", "fsdp")
LEAST_SPLIT = 2**16  # elements; norm scales, biases and small matrices stay whole


def split_axis(shape: tuple[int, ...], parts: int, least: int = LEAST_SPLIT) -> int | None:
    """Return the axis along which to cut a tensor into equal parts, or None to leave it whole.

    Args:
        shape: Shape of the tensor; vectors are never cut.
        parts: Number of parts.
        least: Number of elements below which a tensor stays whole.
    """
    if parts == 1 or len(shape) < 2 or math.prod(shape) < least:
        return None
    fitting = [axis for axis, size in enumerate(shape) if size % parts == 0]
    return max(fitting, key=lambda axis: shape[axis], default=None)


@dataclass(frozen=True)
class Placement:
    """Places trees of arrays on the devices of a mesh; `least` as in `split_axis`."""

    mesh: Mesh
    least: int = LEAST_SPLIT

    @property
    def whole(self) -> NamedSharding:
        """The sharding of an array that every device has a copy of."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def rows(self) -> NamedSharding:
        """The sharding of an array whose leading axis is cut into equal shares, one per device."""
        return NamedSharding(self.mesh, PartitionSpec(AXES))

    def state(self, shapes: Any) -> Any:
        """Return the sharding of every leaf of a train state, given arrays or their shapes."""

        def place(leaf: Any) -> NamedSharding:
            axis = split_axis(leaf.shape, self.mesh.shape["fsdp"], self.least)
            spec = () if axis is None else (*[None] * axis, "fsdp")
            return NamedSharding(self.mesh, PartitionSpec(*spec))

        return jax.tree.map(place, shapes)

    def put_rows(self, tree: Any) -> Any:
        """Start the transfer of this process's rows; return global arrays with all rows."""
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(self.rows, np.asarray(x)), tree
        )

    def put_state(self, tree: Any) -> Any:
        """Distribute over the devices a train state that every process has as a whole."""

        def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

        return jax.tree.map(put, tree, self.state(tree))

    def by_rows(
        self,
        function: Callable[..., Any],
        shared: Any,
        *rows: Any,
        in_axes: tuple[int, ...] | int = 0,
        out_axes: Any = 0,
    ) -> Any:
        """Evaluate a function on every device with the rows of that device; see `ops.rows.RowMap`.

        *Gradients:* the gradient of `shared` is summed over the devices once, after the backward
        pass of the function.
        """
        if out_axes is None:  # devices have equally many rows
            device_means = lambda *given: jax.tree.map(lambda x: x[None], function(*given))
            means = self.by_rows(device_means, shared, *rows, in_axes=in_axes)
            return jax.tree.map(lambda x: x.mean(0), means)
        spec = lambda axis: PartitionSpec(*[None] * axis, AXES)
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(rows)
        mapped = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=(PartitionSpec(), *map(spec, axes)),
            out_specs=jax.tree.map(spec, out_axes),
            check_vma=False,  # every output has rows; scans may start from constants
        )
        return mapped(shared, *rows)


def make_placement(fsdp: int, batch_size: int) -> Placement | None:
    """Return the placement on all devices of all processes, or None where there is just one.

    Args:
        fsdp: Number of devices that share one copy of the train state; every such group holds one.
        batch_size: Rows of a batch, over all devices.

    Raises:
        UserError: If `fsdp` does not divide the number of devices, or the number of devices does
            not divide the rows.
    """
    devices = jax.device_count()
    if fsdp < 1 or devices % fsdp:
        raise UserError(
            f"config.mesh.fsdp={fsdp} does not divide the {devices} devices; "
            "choose a divisor, or 1 to keep the train state whole on each"
        )
    if batch_size % devices:
        raise UserError(
            f"config.batch_size={batch_size} cannot be dealt evenly to {devices} devices; choose a "
            "multiple, or show fewer devices (CUDA_VISIBLE_DEVICES, JAX_NUM_CPU_DEVICES)"
        )
    if devices == 1:
        return None
    types = (AxisType.Auto, AxisType.Auto)
    return Placement(jax.make_mesh((devices // fsdp, fsdp), AXES, axis_types=types))


def own_rows(x: Any) -> np.ndarray:
    """Return an array on the host: all of it, or this process's rows if processes share it."""
    if _is_whole_here(x):
        return np.asarray(x)
    shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def gather(x: Any) -> np.ndarray:
    """Return a whole array on the host; all processes must call this together."""
    if _is_whole_here(x):
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def _is_whole_here(x: Any) -> bool:
    return not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated
