"""`python -m dreamer_jax COMMAND …`, also installed as `dreamer-jax`.

Exit codes: 0 finished, 75 stopped but resumable, 2 bad input, 1 fault.
"""

from __future__ import annotations

import difflib
import importlib
import sys

from dreamer_jax.errors import UserError

COMMANDS = {
    "train": "train an agent, or continue a run",
    "evaluate": "run episodes with a trained agent",
    "check": "see whether an environment keeps the contract, and what it costs",
    "score": "print the benchmark's own score of runs (Crafter, BSuite)",
    "import_author": "turn a checkpoint of the maintained code into a run directory",
}
BAD_INPUT, RESUMABLE = 2, 75


def usage() -> str:
    """Return what `--help` prints."""
    lines = [f"  {name:13} {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: python -m dreamer_jax COMMAND [--option=value …]", *lines])


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code.

    Raises:
        UserError: For an unknown command, and for whatever the command cannot use.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(COMMANDS)}"
        raise UserError(f"no command {command!r}; {hint}")
    return int(importlib.import_module(f"dreamer_jax.commands.{command}").main(rest))


def main() -> None:
    """Entry point of the process."""
    try:
        code = run(sys.argv[1:])
    except UserError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        code = BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; a training run continues from its last checkpoint", file=sys.stderr)
        code = RESUMABLE
    sys.exit(code)


if __name__ == "__main__":
    main()
