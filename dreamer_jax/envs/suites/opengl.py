"""Which OpenGL dm_control renders with, chosen late: none until somebody wants a picture.

dm_control reads MUJOCO_GL once, when its renderer is imported. States must not need a driver, so
it is imported with rendering off, and again with a backend when the first picture is wanted.
"""

from __future__ import annotations

import ctypes.util
import importlib
import os
import sys

from dreamer_jax.errors import UserError

_MODULE = "dm_control._render"


def import_without_rendering() -> None:
    """Import dm_control's renderer choice as "off", unless it was imported before."""
    if _MODULE not in sys.modules:
        _import("disabled")


def enable_rendering() -> None:
    """Give dm_control a backend: MUJOCO_GL if set, else its own choice on a display, else EGL.

    OSMesa stands in where the EGL library is not installed.

    Raises:
        UserError: If the backend does not work.
    """
    if _renders():
        return
    backend = os.environ.get("MUJOCO_GL")
    if backend is None and not os.environ.get("DISPLAY"):
        backend = "egl" if ctypes.util.find_library("EGL") else "osmesa"
    reason = "it is switched off"
    try:
        _import(backend)
    # A missing library or driver shows as ImportError, AttributeError, RuntimeError or OSError.
    except Exception as error:
        reason = str(error)
    if not _renders():
        raise UserError(
            f"pictures of dm_control need OpenGL, and backend {backend or 'automatic'} does not "
            f"work ({reason}); install libegl1 and libgl1-mesa-dri, or libosmesa6 and set "
            "MUJOCO_GL=osmesa"
        )


def _renders() -> bool:
    module = sys.modules.get(_MODULE)
    return module is not None and module.BACKEND not in (None, "off")


def _import(backend: str | None) -> None:
    """Import the renderer choice, or import it again, under a value of MUJOCO_GL."""
    before = os.environ.pop("MUJOCO_GL", None)
    if backend is not None:
        os.environ["MUJOCO_GL"] = backend
    try:
        module = sys.modules.get(_MODULE)
        if module is None:
            importlib.import_module(_MODULE)
        else:
            importlib.reload(module)
    finally:
        # Other users of MuJoCo read it too, and must not find "disabled" there.
        os.environ.pop("MUJOCO_GL", None)
        if before is not None:
            os.environ["MUJOCO_GL"] = before
