"""`python -m dreamer_jax COMMAND …`, also installed as `dreamer-jax`.

Exit codes: 0 finished, 75 stopped but resumable, 2 bad input, 1 fault.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys

from dreamer_jax.errors import BAD_INPUT, FAULT, RESUMABLE, RunFault, UserError

COMMANDS = {
    "train": "train an agent, or continue a run",
    "evaluate": "run episodes with a trained agent",
    "check": "see whether an environment keeps the contract, and what it costs",
    "score": "print the benchmark's own score of runs (Crafter, BSuite)",
    "selftest": "see whether this machine can train, and what to mend",
    "import_author": "turn a checkpoint of the maintained code into a run directory",
}


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
    # `python -m` looks for modules here, the installed command would not: tasks of one's own.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        code = run(sys.argv[1:])
    except (UserError, RunFault) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        code = BAD_INPUT if isinstance(error, UserError) else FAULT
    except KeyboardInterrupt:
        print("interrupted; a training run continues from its last checkpoint", file=sys.stderr)
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(RESUMABLE)  # at once: not even a save under way is waited for
    sys.exit(code)


if __name__ == "__main__":
    main()
