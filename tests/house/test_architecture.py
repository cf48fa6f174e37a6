"""The house's rules, read from the imports: arrows point one way, and hosts know no JAX.

Every rule also proves that it looked at something, and is shown to catch its own violation in a
made-up package, so that a moved folder cannot silence it.
"""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A group is a module or folder directly in the package, or one file of such a folder that has a
# level of its own. Down the list is up the levels: device code may import its own group and those
# above it in this list, and no host group.
DEVICE = (
    *("types", "errors", "masks", "named"),  # L0
    *("ops", "distributions", "optim", "device.trees"),  # L1
    *("nets", "heads", "dynamics"),  # L2
    *("world_model", "behavior", "phase"),  # L3
    *("agent", "report", "makers", "factory", "compat"),  # L4
    *("device.mesh", "cluster", "device.compiled"),  # L4
)
GROUND = {"types", "errors", "masks", "named", "files"}
ALLOWED = {
    **{group: set(DEVICE[: i + 1]) for i, group in enumerate(DEVICE)},
    "files": {"files"},
    "configs": {"configs"},
    "config": GROUND | {"config", "configs"},
    "replay": GROUND | {"replay"},  # H1
    "envs": GROUND | {"envs"},  # H1
    "device_envs": GROUND | {"device_envs", "envs", "device.trees"},  # H1, but written in JAX
    # L4, where acting meets environments in JAX
    "device.rollout": set(DEVICE) | {"device.rollout", "device_envs"},
    "scores": GROUND | {"scores"},  # H2
    "runtime": GROUND  # H2
    | {"runtime", "config", "replay", "envs", "device_envs", "cluster"}
    | {"device.trees", "device.compiled", "device.rollout"},
}
# Folders whose files have levels of their own.
PACKAGES = {"device.__init__"}
TOP = {"__init__", "__main__", "commands"}  # L5: may import anything
HOST = ("types", "errors", "files", "config", "configs", "replay", "envs", "runtime", "scores")
FOLDERS = ("dreamer_jax", "configs", "experiments", "tests")
JAX = {"jax", "jaxlib", "flax", "optax", "chex", "distrax", "orbax", "tensorflow_probability"}


def _group(name: str) -> str:
    """Return the group of a dotted name below the package."""
    parts = name.split(".")
    own = ".".join(parts[:2])
    return own if own in ALLOWED else parts[0]


def _files(root: Path) -> dict[str, Path]:
    """Return the files of the package by dotted name, the top-level configs as `configs`."""
    files = {}
    for folder, prefix in ((root / "dreamer_jax", ()), (root / "configs", ("configs",))):
        for path in sorted(folder.rglob("*.py")):
            parts = (*prefix, *path.relative_to(folder).with_suffix("").parts)
            files[".".join(parts)] = path
    return files


def _nodes(tree: ast.AST, type_checking: bool) -> Iterator[ast.AST]:
    """Walk a tree, lazy imports included; `if TYPE_CHECKING` bodies only if asked for."""
    for node in ast.iter_child_nodes(tree):
        skipped = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if skipped and not type_checking:
            for child in node.orelse:
                yield child
                yield from _nodes(child, type_checking)
            continue
        yield node
        yield from _nodes(node, type_checking)


def _imports(name: str, path: Path, type_checking: bool = True) -> set[str]:
    """Return the absolute dotted names that a file imports."""
    package = ("dreamer_jax", *name.split("."))[:-1]
    found = set()
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), type_checking):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join((*base, *filter(None, [node.module])))
            found |= {f"{source}.{alias.name}" for alias in node.names}
    return found


def _wrong_arrows(root: Path) -> tuple[list[str], int]:
    """Return the forbidden imports between groups, and how many were looked at."""
    wrong, seen = [], 0
    for name, path in _files(root).items():
        group = _group(name)
        for target in _imports(name, path):
            if not target.startswith("dreamer_jax."):
                continue
            seen += 1
            imported = _group(target.removeprefix("dreamer_jax."))
            if group not in TOP and imported not in ALLOWED.get(group, ()):
                wrong.append(f"{name} imports {imported}")
    return sorted(wrong), seen


def _jax_in_hosts(root: Path) -> tuple[list[str], set[str]]:
    """Return host files that import JAX, and the host groups that were looked at."""
    wrong, seen = [], set()
    for name, path in _files(root).items():
        group = _group(name)
        if group in HOST:
            seen.add(group)
            roots = {target.split(".")[0] for target in _imports(name, path, type_checking=False)}
            wrong += [f"{name} imports {found}" for found in sorted(roots & JAX)]
    return wrong, seen


_NOT_ARRAYS = {"dtype", "finfo", "iinfo", "promote_types", "result_type"}


def _at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when a module is imported: not the bodies of functions and lambdas."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (node.args, *node.decorator_list):
                yield from _at_import(part)
                yield part
        elif not isinstance(node, ast.Lambda):
            yield from _at_import(node)


def _arrays_at_import(root: Path) -> tuple[list[str], int]:
    """Return calls into jax.numpy or jax.random that run at import, and the files looked at."""
    wrong, seen = [], 0
    for name, path in _files(root).items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prefixes = {"jax.numpy.", "jax.random."}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                prefixes |= {f"{a.asname}." for a in node.names if f"{a.name}." in prefixes}
            elif isinstance(node, ast.ImportFrom) and node.module == "jax":
                aliases = [a for a in node.names if a.name in ("numpy", "random")]
                prefixes |= {f"{a.asname or a.name}." for a in aliases}
        seen += any(target.split(".")[0] == "jax" for target in _imports(name, path))
        for node in _at_import(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                array = (
                    called.startswith(tuple(prefixes)) and called.split(".")[-1] not in _NOT_ARRAYS
                )
                wrong += [f"{name}:{node.lineno} calls {called}"] if array else []
    return wrong, seen


def test_arrows_point_down_the_levels():
    wrong, seen = _wrong_arrows(ROOT)
    assert wrong == []
    assert seen > 20


def _circle(root: Path) -> list[str]:
    """Return files that import each other round about, the first one again at the end, or none."""
    files = _files(root)
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        targets = {target.removeprefix("dreamer_jax.") for target in _imports(name, path)}
        # The target is a file, or something in it.
        parents = {target.rpartition(".")[0] for target in targets if target not in files}
        graph[name] = (targets | parents) & files.keys() - {name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_files_import_each_other():
    assert _circle(ROOT) == []


def test_every_module_has_a_level():
    groups = {_group(name) for name in _files(ROOT) if name not in PACKAGES}
    assert groups - set(ALLOWED) - TOP == set(), "give it a place in the table above"
    assert len(groups & set(ALLOWED)) >= 10


def test_runtime_meets_the_agent_only_through_the_compiled_functions():
    above = set(DEVICE) - GROUND - {"device.compiled", "device.trees", "cluster"}
    assert ALLOWED["runtime"] & above == set()
    assert any(name.startswith("runtime.") for name in _files(ROOT))


def _meet_device_envs(root: Path) -> set[str]:
    """Return the files outside `device_envs` that import it."""
    found = {name: _imports(name, path) for name, path in _files(root).items()}
    return {
        name
        for name, targets in found.items()
        if not name.startswith("device_envs")
        and any(target.startswith("dreamer_jax.device_envs") for target in targets)
    }


def test_runtime_meets_device_envs_only_where_a_run_is_put_together():
    """All else meets their environments through the members that both kinds have."""
    allowed = {"device.rollout", "runtime.environments", "runtime.device_driver"}
    assert _meet_device_envs(ROOT) == allowed


def test_hosts_import_no_jax():
    wrong, seen = _jax_in_hosts(ROOT)
    assert wrong == []
    assert seen >= {"types", "errors", "configs", "replay", "envs", "runtime"}


def test_a_meeting_with_device_envs_is_found(package):
    root = package("runtime/a.py", "def f():\n    from dreamer_jax.device_envs import chase")
    package("device_envs/b.py", "import dreamer_jax.device_envs.a")
    assert _meet_device_envs(root) == {"runtime.a"}


def test_nothing_builds_an_array_at_import():
    wrong, seen = _arrays_at_import(ROOT)
    assert wrong == []
    assert seen >= 5


def test_no_device_module_holds_an_array():
    """`BINS = make_bins()` builds an array as well, which reading the text cannot see."""
    jax = pytest.importorskip("jax")
    groups = {*DEVICE, "device_envs", "device.rollout"}
    names = [n for n in _files(ROOT) if _group(n) in groups and not n.endswith("__init__")]
    assert len(names) > 10
    for name in names:
        module = importlib.import_module(f"dreamer_jax.{name}")
        assert [key for key, value in vars(module).items() if isinstance(value, jax.Array)] == []


MOST_FILES = 15  # of one folder, besides __init__.py: more no one can keep apart


def _crowded(root: Path) -> tuple[list[str], int]:
    """Return folders with too many Python files, and how many folders were looked at."""
    # configs/ is a list: a file for each preset, looked up by its name.
    looked = [name for name in FOLDERS if name != "configs"]
    folders = {path.parent for name in looked for path in (root / name).rglob("*.py")}
    counts = {
        str(folder.relative_to(root)): sum(p.stem != "__init__" for p in folder.glob("*.py"))
        for folder in folders
    }
    return sorted(name for name, count in counts.items() if count > MOST_FILES), len(counts)


def test_no_folder_holds_more_files_than_one_can_keep_apart():
    crowded, seen = _crowded(ROOT)
    assert crowded == []
    assert seen > 40


def test_a_crowded_folder_is_found(package):
    for index in range(MOST_FILES + 1):
        root = package(f"ops/file{index}.py", "")
    assert _crowded(root)[0] == ["dreamer_jax/ops"]


def test_no_file_is_named_for_nothing():
    names = {path.stem for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert len(names) > 20
    assert names & {"util", "utils", "tools", "common", "helpers", "misc"} == set()


_IMPORT_HOSTS = """
import importlib, pkgutil, sys
import dreamer_jax
for package in ("dreamer_jax.envs", "dreamer_jax.replay"):
    folder = importlib.import_module(package)
    for found in pkgutil.walk_packages(folder.__path__, package + "."):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            assert not error.name.startswith("dreamer_jax"), error
print(*sorted(name for name in sys.modules if "." not in name))
"""


def test_importing_package_envs_and_replay_leaves_jax_out():
    """Each environment worker would otherwise pay seconds and hundreds of megabytes for JAX."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    result = subprocess.run(
        [sys.executable, "-c", _IMPORT_HOSTS], env=env, capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert {"dreamer_jax", "numpy"} <= loaded
    assert loaded & JAX == set()


@pytest.fixture
def package(tmp_path):
    """Return a function that writes a file of a made-up package."""
    (tmp_path / "configs").mkdir()

    def write(name: str, text: str) -> Path:
        path = tmp_path / "dreamer_jax" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("ops/a.py", "from dreamer_jax.nets.layers import MLP", "ops.a imports nets"),
        ("ops/a.py", "from ..agent import Agent", "ops.a imports agent"),
        ("ops/a.py", "def f():\n    from dreamer_jax import agent", "ops.a imports agent"),
        ("ops/a.py", "import dreamer_jax.replay.buffer as b", "ops.a imports replay"),
        ("nets/a.py", "from dreamer_jax.dynamics import rssm", "nets.a imports dynamics"),
        ("runtime/a.py", "from dreamer_jax.agent import make", "runtime.a imports agent"),
        ("envs/a.py", "from dreamer_jax.device_envs.host import X", "envs.a imports device_envs"),
        ("runtime/a.py", "from dreamer_jax.commands import train", "runtime.a imports commands"),
        ("replay/a.py", "from dreamer_jax.envs import spec", "replay.a imports envs"),
        ("novelty.py", "from dreamer_jax import types", "novelty imports types"),
    ],
)
def test_forbidden_arrows_are_found(package, name, text, found):
    assert _wrong_arrows(package(name, text)) == ([found], 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("runtime/a.py", "from dreamer_jax.device.compiled import start"),
        ("behavior/a.py", "from ..world_model import WorldModel"),
        ("commands/train.py", "from dreamer_jax.agent import Agent"),
        ("dynamics/a.py", "from .protocol import Dynamics"),
    ],
)
def test_allowed_arrows_are_left_alone(package, name, text):
    assert _wrong_arrows(package(name, text)) == ([], 1)


def test_a_circle_is_found_through_lazy_imports(package):
    package("ops/a.py", "from dreamer_jax.ops.b import f")
    package("ops/b.py", "from dreamer_jax.ops import c")
    root = package("ops/c.py", "from dreamer_jax.types import Space")
    assert _circle(root) == []
    package("ops/c.py", "def f():\n    from dreamer_jax.ops.a import g")
    assert sorted(set(_circle(root))) == ["ops.a", "ops.b", "ops.c"]


def test_jax_in_hosts_is_found_unless_for_types_only(package):
    root = package("envs/a.py", "def f():\n    import jax.numpy as jnp")
    package("replay/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import jax")
    package("runtime/a.py", "from flax import linen")
    package("nets/a.py", "import jax")
    assert _jax_in_hosts(root)[0] == ["envs.a imports jax", "runtime.a imports flax"]


@pytest.mark.parametrize(
    "text",
    [
        "import jax.numpy as jnp\nX = jnp.zeros(3)",
        "import jax.numpy as np\nclass A:\n    x = [np.ones(3)]",
        "import jax\ndef f(x=jax.numpy.ones(3)): pass",
        "import jax\nKEY = jax.random.key(0)",
        "from jax import random\nKEY = random.key(0)",
    ],
)
def test_arrays_at_import_are_found(package, text):
    wrong, seen = _arrays_at_import(package("ops/a.py", text))
    assert len(wrong) == 1 and seen == 1


def test_what_is_not_an_array_at_import_is_left_alone(package):
    text = "import jax.numpy as jnp\nD = jnp.dtype('int8')\nF = lambda: jnp.ones(3)\n"
    text += "def f(x=jnp.float32):\n    return jnp.zeros(3)"
    assert _arrays_at_import(package("ops/a.py", text)) == ([], 1)
