"""One setting for every test: CPU, strict shapes, the same random numbers on every machine.

The variables are set before anything imports JAX or MuJoCo. JAX itself is imported only by tests
that need it, so that the tests of environments and replay run, as the workers do, without it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# [3] + [3, 1] is a mistake here, not a broadcast.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# The random numbers of a key depend on it; stored numbers must not move with JAX's default.
os.environ["JAX_THREEFRY_PARTITIONABLE"] = "true"
os.environ.setdefault("MUJOCO_GL", "egl")  # pictures without a display
# What one test compiled is there for the next one, for subprocesses too. A folder per process:
# entries are not written atomically.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jax-programs-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# An example that takes long says something about the machine, not about the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="module")
def cheap_compile() -> Iterator[None]:
    """Compile fast and run slowly, for tests that train for a few steps only."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def shared_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings with the same agent share its compiled functions, to save the tracing."""
    import tiny_run

    from dreamer_jax.runtime import assemble
    from dreamer_jax.runtime.saving import load

    for module in (load, assemble):
        monkeypatch.setattr(module, "compile_agent", tiny_run.shared_agent)
