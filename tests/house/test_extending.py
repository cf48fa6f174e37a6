"""docs/extending.md against the code: what it shows is there, and what it names exists."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import ml_collections
import pytest

from dreamer_jax import makers
from dreamer_jax.commands.flags import OPEN, define_config, new_flags
from dreamer_jax.config import load_config
from dreamer_jax.errors import UserError
from dreamer_jax.named import CODE_OPTIONS
from dreamer_jax.runtime.assemble import SOURCES
from dreamer_jax.runtime.showing.outputs import OUTPUTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "extending.md"
TEXT = PAGE.read_text(encoding="utf-8")
MOST_LINES = 15  # of a snippet
# Published makers of the rows of the page's table, whose parameters a maker of one's own has too.
PUBLISHED: dict[str, Any] = {
    "agent.encoder": makers.ENCODERS,
    "agent.dynamics": makers.DYNAMICS,
    "agent.heads": makers.HEADS,
    "agent.objectives": makers.OBJECTIVES,
    "agent.behaviors": makers.BEHAVIORS,
    "agent.critic": makers.HEADS,
    "agent.phases": makers.PHASES,
    "agent.optimizer": makers.OPTIMIZERS,
    "source": SOURCES,
    "log.outputs": OUTPUTS,
}

_SNIPPET = re.compile(
    r"(?:^From \[`([^`]+)`\]\(\.\./\1\):\n\n)?^```python\n(.*?)^```$", re.M | re.S
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#]+\.py)\)(?: \(((?:`\w+`(?:, )?)+)\))?")
_KEY = re.compile(r"config\.((?:\w+\.)*\w+)")


def _snippets(text: str) -> list[tuple[str, str]]:
    """Return (file, code) of every block of Python; the file is empty where none is named."""
    return _SNIPPET.findall(text)


def _wrong_snippets(text: str) -> list[str]:
    """Return the files of blocks that their file does not hold line for line, or that are long."""
    wrong = []
    for name, code in _snippets(text):
        # Blank lines are the formatter's affair, and a method stands at the left of the page.
        lines = _full_lines(code)
        held = _full_lines((ROOT / name).read_text(encoding="utf-8")) if name else ""
        if not any(textwrap.indent(lines, margin) in held for margin in ("", "    ")):
            wrong.append(name)
        elif lines.count("\n") > MOST_LINES:
            wrong.append(name)
    return wrong


def _full_lines(code: str) -> str:
    return "".join(f"{line}\n" for line in code.splitlines() if line.strip())


def _keys(text: str) -> set[str]:
    """Return every config key that the text names, command lines included."""
    lines = (line for line in text.splitlines() if "context.agent" not in line)
    return {key for line in lines for key in _KEY.findall(re.sub(r"config\.json", "", line))}


def _unknown_keys(text: str) -> set[str]:
    """Return the keys that no config has and no section is open for."""
    config = load_config("default")
    return {key for key in _keys(text) if not _is_known(config, key)}


def _is_known(config: ml_collections.ConfigDict, key: str) -> bool:
    if key in OPEN or key.rpartition(".")[0] in OPEN:
        return True
    found: Any = config
    for part in key.split("."):
        if part not in found:
            return False
        found = found[part]
    return True


def _missing(text: str) -> list[str]:
    """Return the linked Python files that do not exist, and `file: name` of what they lack."""
    missing = []
    for link, names in _LINK.findall(text):
        file = (PAGE.parent / link).resolve()
        code = file.read_text(encoding="utf-8") if file.is_file() else ""
        missing += [] if code else [link]
        for name in re.findall(r"\w+", names):
            if not re.search(rf"^(class|def) {name}\b|^{name}\b.* = ", code, re.M):
                missing.append(f"{file.name}: {name}")
    return missing


def test_every_snippet_stands_in_the_file_that_it_names():
    assert len(_snippets(TEXT)) == TEXT.count("```python") >= 10
    assert _wrong_snippets(TEXT) == []


def test_every_config_key_exists_or_is_in_an_open_section():
    assert len(_keys(TEXT)) > 20
    assert _unknown_keys(TEXT) == set()


def test_every_linked_file_exists_and_has_the_names_after_its_link():
    assert len(_LINK.findall(TEXT)) > 30
    assert sum(bool(names) for _, names in _LINK.findall(TEXT)) >= 9
    assert _missing(TEXT) == []


def test_every_option_that_names_code_has_its_room():
    assert set(CODE_OPTIONS) <= {key.removesuffix(".NAME") for key in _keys(TEXT)}


def test_makers_have_the_parameters_of_the_published_ones():
    rows = re.findall(r"^\| [^|]+ \| `config\.([\w.]+)` \| `make\(([^)]*)\)` \|", TEXT, re.M)
    shown = {key.removesuffix(".NAME"): parameters.split(", ") for key, parameters in rows}
    assert PUBLISHED.keys() < shown.keys()
    for key, table in PUBLISHED.items():
        for maker in table.values():
            assert list(inspect.signature(maker).parameters) == shown[key], key


def test_every_plug_in_is_an_example_of_the_page():
    plugins = {path.name for path in (ROOT / "tests" / "plugins").glob("*.py")}
    assert len(plugins) > 9
    assert {name for name in plugins if name not in TEXT} == set()


def test_the_command_lines_are_ones_that_the_command_takes():
    blocks = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.M | re.S)
    options = [word for block in blocks for word in block.split() if word.startswith("--config")]
    assert len(options) > 15
    rest = define_config(values := new_flags(), "default", options)
    values(["train", *rest])
    assert values.config.agent.options.members == 3 and values.config.agent.acts == "planner"
    with pytest.raises(UserError, match=r"unknown config key 'agent\.actor_los'"):
        define_config(new_flags(), "default", ["--config.agent.actor_los=pathwise_loss:make"])


def test_readme_leads_to_the_page():
    assert "(docs/extending.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_changed_code_unknown_keys_and_lost_files_are_found():
    assert _wrong_snippets("```python\nx = 1\n```\n") == [""]
    name = "tests/plugins/pathwise_loss.py"
    code = "class Pathwise:\n    attached = False\n"
    shown = f"From [`{name}`](../{name}):\n\n```python\n{code}```\n"
    assert _wrong_snippets(shown) == [name]
    assert _wrong_snippets(shown.replace("False", "True")) == []
    text = "`config.agent.dynamic` `--config.agent.heads.danger=x` `config.json` `config.steps`"
    assert _unknown_keys(text) == {"agent.dynamic"}
    links = "[a](../nowhere.py) [b](../dreamer_jax/phase.py) (`Phase`, `Phases`)"
    assert _missing(links) == ["../nowhere.py", "phase.py: Phases"]
