"""Any mesh computes what one device computes, and one device pays for no mesh.

Simulated devices, in a process of their own (see `sharded_updates.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import sharded_updates
import tiny

from dreamer_jax.device.compiled import Compiled
from dreamer_jax.device.mesh import LEAST_SPLIT, make_placement, split_axis
from dreamer_jax.errors import UserError

CHEAP = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def run_child(out: Path, keys: str, *meshes: str) -> dict[str, dict[str, np.ndarray]]:
    """Return the results of two updates by mesh and name."""
    command = [sys.executable, sharded_updates.__file__, str(out), keys, *meshes]
    env = {**os.environ, "XLA_FLAGS": CHEAP, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as arrays:
        return {
            mesh: {
                name.removeprefix(f"{mesh}/"): arrays[name]
                for name in arrays.files
                if name.startswith(f"{mesh}/")
            }
            for mesh in meshes
        }


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Compare metrics, parameters, optimiser, statistics, carry and latents in float32."""
    assert {name for name in ours if not name.startswith("traffic/")} == theirs.keys()
    for name, value in theirs.items():
        if not name.startswith(("share/", "traffic/")):
            scale = float(np.abs(value.astype(np.float64)).max(initial=1e-3))
            # Momentum is of gradients over their own size: the smallest ones lose digits.
            near = 1e-3 if "/ema/" in name else 1e-5
            np.testing.assert_allclose(ours[name], value, 1e-4, near * scale, err_msg=name)


def shares(result: dict[str, np.ndarray], part: str) -> dict[str, float]:
    """Return which share of each array of a part one device holds."""
    prefix = f"share/{part}/"
    sizes = {k.removeprefix(prefix): v for k, v in result.items() if k.startswith(prefix)}
    assert sizes
    return {name: float(own / size) for name, (size, own) in sizes.items()}


def check(meshes: dict[str, dict[str, np.ndarray]]) -> None:
    one = meshes.pop("1")
    moved = [k for k in one if k.startswith("state/opt") and np.abs(one[k]).max(initial=0) > 0]
    assert len(moved) > 50, "the updates did something"
    for mesh, result in meshes.items():
        assert_same(result, one)
        data, fsdp = map(int, mesh.split("x"))
        state = shares(result, "state")
        assert set(state.values()) == {1.0, 1 / fsdp}
        for name, share in state.items():
            vector = name.endswith(("bias", "scale", "count", "grad_steps", "low", "high"))
            assert share == 1.0 or not vector, name
        kernels = [name for name, share in state.items() if share < 1.0]
        assert (len(kernels) >= 6) == (fsdp > 1)
        # A recurrence that communicates would do so in each of its steps.
        assert result["traffic/in_loops"] == 0 < result["traffic/sent"]
        assert result["traffic/gathered"] <= result["traffic/needed"]
        # What replay gets back, and what the next batch starts from, is spread like the rows.
        for part in ("carry", "latents"):
            assert set(shares(result, part).values()) == {1 / (data * fsdp)}


def test_a_mesh_computes_what_one_device_computes(tmp_path):
    check(run_child(tmp_path / "out.npz", "vector", "1", "2x4"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("keys", sorted(sharded_updates.SPACES))
def test_all_meshes_compute_what_one_device_computes(tmp_path, keys):
    """Data only, state only and mixed, on 1, 2, 4 and 8 devices, for every kind of key."""
    meshes = ("1x1", "2x1", "1x2", "4x1", "2x2", "1x4", "8x1", "4x2", "2x4", "1x8")
    check(run_child(tmp_path / "out.npz", keys, "1", *meshes))


def test_one_device_pays_nothing():
    """No mesh is made, and nothing of the program speaks of one."""
    assert jax.device_count() == 1 and make_placement(fsdp=1, batch_size=3) is None
    compiled = Compiled(tiny.tiny_agent(tiny.VECTOR))
    state = compiled.shape()
    carry, batch = compiled.initial_carry(tiny.B), tiny.random_batch(tiny.VECTOR)
    text = compiled._train["joint"].lower(state, carry, batch, compiled._keys["train"]).as_text()
    for word in ("manual_computation", "mhlo.sharding", "@Sharding", "all_reduce", "all_gather"):
        assert word not in text
    assert text.count("stablehlo.while") >= 2  # the text is that of the update


@pytest.mark.parametrize(
    ("shape", "parts", "axis"),
    [
        ((512, 1024), 4, 1),  # the largest
        ((8, 512, 192), 8, 1),
        ((1024, 510), 4, 0),  # the largest that divides
        ((999, 333), 2, None),  # none divides
        ((512, 512), 8, 0),  # of equals the first
        ((2**20,), 2, None),  # norm scales and biases stay whole
        ((128, 128), 2, None),  # small matrices too
        ((512, 1024), 1, None),
        ((), 2, None),
    ],
)
def test_the_largest_axis_that_divides_is_split(shape, parts, axis):
    assert 128 * 128 < LEAST_SPLIT <= 512 * 256
    assert split_axis(shape, parts) == axis


def test_devices_that_cannot_share_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 6)
    with pytest.raises(UserError, match=r"mesh\.fsdp=4 does not divide the 6 devices"):
        make_placement(fsdp=4, batch_size=12)
    with pytest.raises(UserError, match=r"batch_size=16 cannot be dealt evenly to 6 devices"):
        make_placement(fsdp=2, batch_size=16)
