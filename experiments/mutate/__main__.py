"""`python -m experiments.mutate [NAME …] [--list] [--jobs=1] [--out=DIR] [--json=FILE]`.

The command plants mistakes into copies of this tree, one at a time, and runs the tests that should
notice each. A mistake is killed if they fail, and survives if they pass; one is unjudged if they
fail without it, or if no test could run. The same `--out` continues.

Exit codes: 0 all killed, 1 some are not, 2 bad input, 75 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dreamer_jax.errors import FAULT, FINISHED, UserError
from experiments.command_line import exit_with
from experiments.mutate.judge import KILLED, judge
from experiments.mutate.mutants import MUTANTS
from experiments.mutate.plant import Mutant, check

ROOT = Path(__file__).resolve().parents[2]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants, or subjects of them; all by default")
    parser.add_argument("--list", action="store_true", help="print all mutants and end")
    parser.add_argument("--jobs", type=int, default=1, help="tests that run at a time")
    parser.add_argument("--out", type=Path, help="folder of the verdicts; the same one continues")
    parser.add_argument("--json", type=Path, help="file for all verdicts")
    args = parser.parse_args(arguments)
    if args.jobs < 1:
        parser.error(f"--jobs={args.jobs}; at least 1")
    return args


def choose(names: Sequence[str], known: dict[str, tuple[Mutant, ...]]) -> list[Mutant]:
    """Return the mutants of these names and subjects, in the order of the list; all for none.

    Raises:
        UserError: For a name that is none of them.
    """
    everything = [mutant for mutants in known.values() for mutant in mutants]
    valid = [*known, *(mutant.name for mutant in everything)]
    for name in names:
        if name not in valid:
            near = difflib.get_close_matches(name, valid, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"no mutant {name!r}; {hint}--list prints all")
    return [
        mutant
        for subject, mutants in known.items()
        for mutant in mutants
        if not names or subject in names or mutant.name in names
    ]


def main(
    arguments: Sequence[str] | None = None,
    root: Path = ROOT,
    known: dict[str, tuple[Mutant, ...]] | None = None,
) -> int:
    """Judge mutants and print their verdicts; return 0 if every one was killed.

    Args:
        arguments: Of the command line.
        root: The tree.
        known: Mutants by subject; those of this package if not given.
    """
    args, known = parse(arguments), MUTANTS if known is None else known
    mutants = choose(args.names, known)
    if args.list:
        for subject, group in known.items():
            print(subject)
            for mutant in (x for x in group if x in mutants):
                print(f"  {mutant.name} ({mutant.file}): {mutant.claim}")
        return FINISHED
    check(mutants, root)
    with tempfile.TemporaryDirectory() as folder:
        tell = lambda line: print(line, flush=True)
        verdicts = judge(mutants, root, args.out or Path(folder), args.jobs, tell)
    if args.json:
        args.json.write_text(json.dumps([each._asdict() for each in verdicts], indent=1) + "\n")
    counts = Counter(each.verdict for each in verdicts)
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    rest = [each for each in verdicts if each.verdict != KILLED]
    for each in rest:
        print(f"{each.verdict}: {each.name}: {each.by}")
    return FAULT if rest else FINISHED


if __name__ == "__main__":
    exit_with(main)
