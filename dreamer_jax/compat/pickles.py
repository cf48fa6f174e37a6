"""Reads checkpoint files of the maintained code: pickles, with an allow-list instead of trust.

Such a file needs NumPy arrays, dtypes and plain containers. Anything else that a pickle could name
(and thereby run) is refused before it is looked up.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray

from dreamer_jax.errors import UserError

# Where NumPy 1 and NumPy 2 keep the functions that rebuild arrays.
_HOMES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(home, "_reconstruct"): multiarray._reconstruct for home in _HOMES},
    **{(home, "scalar"): multiarray.scalar for home in _HOMES},
}


class _AllowList(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"the checkpoint names {module}.{name}, which no such file needs; refused"
            )
        return _ALLOWED[module, name]


def read_author_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return parameters (optimiser state included) under the original names, and counters.

    Raises:
        UserError: If the file is not such a checkpoint, or would run code.
    """
    try:
        with path.open("rb") as file:
            content = _AllowList(file).load()
        params, counters = dict(content["params"]), dict(content.get("counters", {}))
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(f"{path} is not a checkpoint of the maintained code: {error}") from error
    if not all(isinstance(value, np.ndarray) for value in params.values()):
        raise UserError(f"{path}: every parameter must be an array")
    return params, counters
