"""`python -m experiments.faults {kill,signal,soak} [--kills=30] [--setup=workers] [--ends=worker]`.

A campaign prints a table, and exits with 1 if a run lost anything, needed help, or grew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.faults.kills import kill_campaign, signal_campaign
from experiments.faults.soak import soak
from experiments.faults.subject import ENDS, SETUPS

CAMPAIGNS = {"kill": kill_campaign, "signal": signal_campaign, "soak": soak}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=list(CAMPAIGNS))
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--steps", type=int, default=600, help="policy steps of the runs")
    parser.add_argument("--seed", type=int, default=0, help="decides where kills strike")
    parser.add_argument("--updates", type=int, default=200_000, help="updates of the soak")
    parser.add_argument("--setup", choices=list(SETUPS), default="inline", help="of the runs")
    parser.add_argument(
        "--ends", default="kill", help=f"in turn, joined by commas: {', '.join(ENDS)}"
    )
    parser.add_argument("--folder", type=Path, help="new or empty folder that keeps the runs")
    args = parser.parse_args(arguments)
    args.ends = args.ends.split(",")
    for name in args.ends:
        if name not in ENDS:
            parser.error(f"--ends={name}; choose from {', '.join(ENDS)}")
    if "worker" in args.ends and "workers" not in args.setup:
        parser.error(f"--ends=worker: setup {args.setup} has no workers; add --setup=workers")
    return args


def table(rows: list[dict[str, Any]]) -> str:
    """Return a table of rows as text; a cell that a row lacks is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one campaign, print its table, and return 0 if every row is as promised."""
    args = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        args.folder = args.folder or Path(folder)
        rows = CAMPAIGNS[args.what](args)
    print(table(rows))
    return 0 if all(row["as promised"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
