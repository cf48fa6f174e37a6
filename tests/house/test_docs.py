"""What the prose says about the tree: links lead somewhere, names exist, every page has its room.

Every rule is also shown to catch its own violation in a made-up tree.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALGORITHM = "docs/algorithm.md"
DECISIONS = "docs/decisions.md"
SECTIONS = range(1, 12)  # of the numerical contract; docstrings cite them by number
MOST_NOTES = 10_000  # bytes
CODE = ("configs", "dreamer_jax", "experiments", "tests")

_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
_CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_IN_THE_CODE = re.compile(r"^In the code:(.*?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


def _pages(root: Path) -> list[Path]:
    return [root / "README.md", root / "BUILD_NOTES.md", *sorted((root / "docs").rglob("*.md"))]


def _prose(page: Path) -> str:
    """Return the text without its code blocks, in which brackets are not links."""
    return _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """Return the fragments that headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken_links(root: Path) -> list[str]:
    """Return `page: target` of every relative link whose file or heading does not exist."""
    broken = []
    for page in _pages(root):
        for _, target in _LINK.findall(_prose(page)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, fragment = target.partition("#")
            file = (page.parent / path) if path else page
            if not file.exists() or (fragment and fragment not in _anchors(file)):
                broken.append(f"{page.relative_to(root)}: {target}")
    return broken


def _names(source: str) -> set[str]:
    """Return what a module defines: functions, classes, constants, and `Class.member`."""

    def defined(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))

    tree = ast.parse(source)
    names = set(defined(tree.body))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{member}" for member in defined(node.body)}
    return names


def _named_in_code_lines(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield (file, name) of each name in backticks that follows a link to a Python file."""
    for block in _IN_THE_CODE.findall(page.read_text(encoding="utf-8")):
        links = [link for link in _LINK.finditer(block) if link[2].endswith(".py")]
        ends = [*(link.start() for link in links), len(block)][1:]
        for link, end in zip(links, ends, strict=True):
            for name in re.findall(r"`([A-Za-z_][\w.]*)`", block[link.end() : end]):
                yield (page.parent / link[2]).resolve(), name


def _missing_names(root: Path) -> list[str]:
    """Return `file: name` of what "In the code" lines name and the file does not define."""
    return [
        f"{file.name}: {name}"
        for file, name in _named_in_code_lines(root / ALGORITHM)
        if name not in _names(file.read_text(encoding="utf-8"))
    ]


def _sections_without_code_line(root: Path) -> list[int]:
    """Return the sections of the contract that are absent or do not end with a code line."""
    text = (root / ALGORITHM).read_text(encoding="utf-8")
    parts = {}
    for part in re.split(r"^## (?=\d+\. )", text, flags=re.MULTILINE)[1:]:
        parts[int(part.partition(".")[0])] = part.split("\n## ")[0]
    return [
        number
        for number in SECTIONS
        if not parts.get(number, "").rstrip().split("\n\n")[-1].startswith("In the code:")
    ]


def _code(root: Path) -> list[Path]:
    """Return the files of Python and prose beside the pages; this one has to name what it seeks."""
    files = [file for folder in CODE for file in (root / folder).rglob("*.*")]
    here = Path(__file__).relative_to(ROOT)
    return sorted(f for f in files if f.suffix in (".py", ".md") and f != root / here)


def _old_names(root: Path) -> list[str]:
    """Return `file:line` of every mention of a document that is not part of the project."""
    return [
        f"{file.relative_to(root)}:{number}"
        for file in (*_pages(root), *_code(root))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\b(SPEC|DESIGN)\b", line)
    ]


def _dependencies(root: Path) -> set[str]:
    """Return the distributions that pyproject.toml names, the project itself excepted."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *project["project"].get("optional-dependencies", {}).values(),
    ]
    lines = [line for group in groups for line in group]
    return {re.split(r"[\s\[<>=!~;]", line)[0] for line in lines} - {project["project"]["name"]}


def _unexplained_dependencies(root: Path) -> set[str]:
    """Return the dependencies that the page of decisions does not name in backticks."""
    named = re.findall(r"`([\w.-]+)(?:\[[\w,-]+\])?`", (root / DECISIONS).read_text("utf-8"))
    return _dependencies(root) - set(named)


def test_relative_links_lead_to_files_and_headings_that_exist():
    pages = _pages(ROOT)
    assert len(pages) > 5 and sum(len(_LINK.findall(_prose(page))) for page in pages) > 50
    assert _broken_links(ROOT) == []


def test_names_of_the_contract_exist_in_the_files_they_are_linked_to():
    assert sum(1 for _ in _named_in_code_lines(ROOT / ALGORITHM)) > 40
    assert _missing_names(ROOT) == []


def test_every_section_of_the_contract_says_where_it_is_in_the_code():
    assert _sections_without_code_line(ROOT) == []


def test_build_notes_stay_short():
    """Decisions and measurements grow in `docs/`; the notes are what a newcomer reads."""
    assert (ROOT / "BUILD_NOTES.md").stat().st_size <= MOST_NOTES


def test_no_file_names_a_document_that_is_not_shipped():
    """Symptom: docstrings cited a text that no reader had. The contract is docs/algorithm.md."""
    files = _code(ROOT)
    assert len(files) > 300 and {file.relative_to(ROOT).parts[0] for file in files} == {*CODE}
    assert _old_names(ROOT) == []


def test_every_dependency_is_a_decision():
    assert len(_dependencies(ROOT)) > 20
    assert _unexplained_dependencies(ROOT) == set()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A made-up project that keeps every rule."""
    code = "In the code: [`f.py`](../f.py) (`run`, `Box.open`, `SIZE`)."
    sections = [f"## {number}. Part\n\nWords.\n\n{code}\n" for number in SECTIONS]
    files = {
        "README.md": "[notes](BUILD_NOTES.md) [site](https://example.org) [heading](#first-part)\n"
        "# First part\n```\n[0](nowhere.md)\n```\n",
        "BUILD_NOTES.md": "![curve](docs/pages/curve.png)\n",
        "f.py": "SIZE = 1\n\n\ndef run(): ...\n\n\nclass Box:\n    def open(self): ...\n",
        ALGORITHM: "# Contract\n\n" + "\n".join(sections) + "\n## Names\n\nA table.\n",
        DECISIONS: "`setuptools` builds, `jax[tpu]` computes, `pytest` tests.\n",
        "docs/pages/curve.png": "",
        "dreamer_jax/ops.py": "# docs/algorithm.md 7\n",
        "docs/pages/page.md": "[up](../algorithm.md#2-part)\n",
        "pyproject.toml": '[build-system]\nrequires = ["setuptools>=77"]\n[project]\nname = "box"\n'
        "dependencies = [\"jax==0.10.2; python_version < '3.12'\"]\n"
        '[project.optional-dependencies]\ndev = ["pytest", "box[all]"]\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def _add(file: Path, text: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_a_tree_that_keeps_the_rules_passes_all_of_them(tree):
    assert _broken_links(tree) == []
    assert len(list(_named_in_code_lines(tree / ALGORITHM))) == 3 * len(SECTIONS)
    assert _missing_names(tree) == []
    assert _sections_without_code_line(tree) == []
    assert _old_names(tree) == []
    assert _dependencies(tree) == {"setuptools", "jax", "pytest"}
    assert _unexplained_dependencies(tree) == set()


def test_a_link_to_a_moved_file_or_heading_is_found(tree):
    (tree / "docs/pages/curve.png").unlink()
    _add(tree / "docs/pages/page.md", "[up](../algorithm.md#2-old-title)\n")
    assert _broken_links(tree) == [
        "BUILD_NOTES.md: docs/pages/curve.png",
        "docs/pages/page.md: ../algorithm.md#2-old-title",
    ]


def test_a_renamed_function_method_or_constant_is_found(tree):
    old = (tree / "f.py").read_text(encoding="utf-8")
    new = old.replace("run", "walk").replace("open", "close").replace("SIZE", "WIDTH")
    (tree / "f.py").write_text(new, encoding="utf-8")
    assert set(_missing_names(tree)) == {"f.py: run", "f.py: Box.open", "f.py: SIZE"}


def test_a_section_without_code_line_or_number_is_found(tree):
    text = (tree / ALGORITHM).read_text(encoding="utf-8")
    text = text.replace("## 4. Part", "## Part").replace(
        "## 8. Part\n\nWords.\n\nIn", "## 8. Part\n\nI"
    )
    (tree / ALGORITHM).write_text(text, encoding="utf-8")
    assert _sections_without_code_line(tree) == [4, 8]


def test_a_document_of_another_place_is_found(tree):
    _add(tree / "README.md", "As SPEC 7 says.\n")
    _add(tree / "docs/pages/page.md", "See `DESIGN.md`; `spec.py` and SPECIAL are fine.\n")
    _add(tree / "dreamer_jax/ops.py", "# eq. 3 of SPEC 7\n")
    assert _old_names(tree) == ["README.md:6", "docs/pages/page.md:2", "dreamer_jax/ops.py:2"]


def test_a_dependency_without_a_reason_is_found(tree):
    project = (tree / "pyproject.toml").read_text(encoding="utf-8")
    (tree / "pyproject.toml").write_text(
        project.replace('"pytest"', '"pytest", "newcomer[x]>=1,<2"'), encoding="utf-8"
    )
    assert _unexplained_dependencies(tree) == {"newcomer"}
