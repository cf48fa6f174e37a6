"""The end of a program that starts many runs: one line for a fault, exit codes of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from dreamer_jax.errors import BAD_INPUT, RESUMABLE, UserError


def exit_with(main: Callable[[], int]) -> None:
    """Run a program and end the process with its exit code."""
    try:
        code = main()
    except UserError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        code = BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoints", file=sys.stderr)
        code = RESUMABLE
    sys.exit(code)
