"""One setting for every test: CPU, strict shapes, the same random numbers on every machine.

The variables are set before anything imports JAX or MuJoCo. JAX itself is imported only by tests
that need it, so that the tests of environments and replay run, as the workers do, without it.
"""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# [3] + [3, 1] is a mistake here, not a broadcast.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# The random numbers of a key depend on it; stored numbers must not move with JAX's default.
os.environ["JAX_THREEFRY_PARTITIONABLE"] = "true"
os.environ.setdefault("MUJOCO_GL", "egl")  # pictures without a display

# An example that takes long says something about the machine, not about the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
