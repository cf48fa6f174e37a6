"""What a planted mistake is, and how it gets into a copy of the tree and out again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

from dreamer_jax.errors import UserError

# What a test may need; everything else of a checkout stays where it is.
PARTS = ("dreamer_jax", "configs", "experiments", "tests", "docs")
_IGNORED = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info")


class Mutant(NamedTuple):
    """A mistake: a piece of source text, what stands in its place, and who should notice."""

    name: str
    file: str  # below the root of the tree
    text: str  # occurs exactly once in the file
    instead: str
    claim: str  # what is no longer true, in words
    tests: tuple[str, ...]  # files or node ids, the cheapest that should fail


def misfits(mutants: Sequence[Mutant], root: Path) -> list[str]:
    """Return, in words, every mutant that cannot be planted into a tree as it is."""
    found = []
    for mutant in mutants:
        path = root / mutant.file
        count = path.read_text(encoding="utf-8").count(mutant.text) if path.is_file() else 0
        if count != 1:
            found.append(f"{mutant.name}: its text occurs {count} times in {mutant.file}, not once")
        if mutant.text == mutant.instead:
            found.append(f"{mutant.name} changes nothing")
        files = [mutant.file, *(test.partition("::")[0] for test in mutant.tests)]
        found += [f"{mutant.name}: there is no {x}" for x in files if not (root / x).exists()]
    names = [mutant.name for mutant in mutants]
    found += [
        f"two mutants are called {name}" for name in sorted({*names}) if names.count(name) > 1
    ]
    return found


def check(mutants: Sequence[Mutant], root: Path) -> None:
    """Check that all mutants can be planted.

    Raises:
        UserError: Names those that cannot.
    """
    if found := misfits(mutants, root):
        raise UserError(f"{'; '.join(found)}; mend the list in experiments/mutate/mutants")


def copy_tree(root: Path, folder: Path) -> Path:
    """Copy what tests need of a tree into a new folder, and return the folder."""
    folder.mkdir(parents=True)
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name in PARTS:
            shutil.copytree(path, folder / path.name, ignore=_IGNORED)
        elif path.is_file():
            shutil.copy2(path, folder / path.name)
    return folder


def digest(root: Path) -> str:
    """Return a number of the content of a tree: results belong to one tree."""
    sum_ = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        for path in sorted((root / part).rglob("*.py")):
            sum_.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return sum_.hexdigest()


@contextmanager
def planted(mutant: Mutant, tree: Path) -> Iterator[None]:
    """Plant a mutant into a copy of the tree, and take it out at the end of the block."""
    path = tree / mutant.file
    before = path.read_text(encoding="utf-8")
    try:
        _write(path, before.replace(mutant.text, mutant.instead))
        yield
    finally:
        _write(path, before)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    # Python compares size and second of a source with its bytecode: both may be equal by chance.
    Path(cache_from_source(str(path))).unlink(missing_ok=True)
