"""Faults that a person can mend: shown as one line, never as a traceback."""


class UserError(ValueError):
    """A wrong key, task, space, size, path or checkpoint; the message names it and the remedy."""
