"""Finds and loads configs: a preset's name or a path to a file with `get_config()`."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dreamer_jax.errors import UserError

_SHIPPED = Path(__file__).parent / "configs"  # inside a wheel
_CHECKOUT = Path(__file__).parent.parent / "configs"  # in a checkout
NOT_PRESETS = ("__init__", "sizes")


def config_folder() -> Path:
    """Return the folder that holds the presets."""
    return _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT


def presets() -> list[str]:
    """Return the names that `load_config` takes."""
    return sorted(p.stem for p in config_folder().glob("*.py") if p.stem not in NOT_PRESETS)


def config_path(name: str) -> Path:
    """Return the file behind a preset's name or a path.

    Raises:
        UserError: If there is neither; names the closest preset.
    """
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise UserError(f"config file {name} does not exist")
        return Path(name)
    if name not in presets():
        near = difflib.get_close_matches(name, presets(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"no preset {name!r}; {hint}presets are {', '.join(presets())}")
    return config_folder() / f"{name}.py"


def load_config(name: str) -> ConfigDict:
    """Return the config of a preset's name or a path, with its structure locked.

    Raises:
        UserError: If there is none; if a file of one's own fails, with its line.
    """
    path = config_path(name)
    try:
        config = _load_module(path).get_config()
    except UserError:
        raise
    except Exception as error:
        if not name.endswith(".py"):
            raise
        raise UserError(f"{_place(path, error)}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config() of {name} returned {config!r}; it must return a ConfigDict")
    config.lock()
    return config


def _place(path: Path, error: Exception) -> str:
    """Return the file, and the line of it that raised the error or could not be read."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f"{path}:{lines[-1]}" if lines else str(path)


def with_tuples(value: Any) -> Any:
    """Return a value of a config with tuples for lists.

    Files of JSON have one kind of sequence. A run therefore has one as well, so that a constructor
    is given the same options in training and when its run is loaded.
    """
    if isinstance(value, Mapping):
        return {key: with_tuples(each) for key, each in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list | tuple) else value


def load_sizes() -> dict[str, Any]:
    """Return the size table by name."""
    return dict(_load_module(config_folder() / "sizes.py").SIZES)


def find_size(name: str) -> Any:
    """Return a row of the size table by name, or the row that five numbers spell out.

    Args:
        name: Such as `12m`, or `deter/hidden/classes/depth/units` such as `128/32/8/4/32`.

    Raises:
        UserError: If it is neither.
    """
    sizes = load_sizes()
    if name in sizes:
        return sizes[name]
    numbers = name.split("/")
    if len(numbers) != 5 or not all(re.fullmatch(r"[1-9][0-9]{0,8}", n) for n in numbers):
        raise UserError(
            f"no size {name!r}; config.size is one of {', '.join(sizes)}, "
            "or deter/hidden/classes/depth/units"
        )
    return type(next(iter(sizes.values())))(*map(int, numbers))


def _load_module(path: Path) -> Any:
    root, package = str(_CHECKOUT.parent), sys.modules[__name__.rpartition(".")[0]]
    if not _SHIPPED.is_dir() and root not in package.__path__:
        package.__path__.append(root)  # presets import dreamer_jax.configs, installed or not
    spec = importlib.util.spec_from_file_location(f"dreamer_jax_config_{path.stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
