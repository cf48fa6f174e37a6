"""Faults that end a run with one line, never with a traceback."""


class UserError(ValueError):
    """A wrong key, task, space, size, path or checkpoint; the message names it and the remedy."""


class RunFault(RuntimeError):
    """A run that cannot go on although nothing was typed wrong; the message says what was seen."""
