"""Faults that end a run with one line, never with a traceback, and the exit codes of a process."""

FINISHED, FAULT, BAD_INPUT, RESUMABLE = 0, 1, 2, 75


class UserError(ValueError):
    """A wrong key, task, space, size, path or checkpoint; the message names it and the remedy."""


class RecordError(UserError):
    """An environment's record has other keys, shapes or types than its spaces say."""


class InvalidValueError(RecordError):
    """A value in an environment's record that its space rules out."""


class RunFault(RuntimeError):
    """A run that cannot go on although nothing was typed wrong; the message says what was seen."""
