"""Faults that a person can mend: shown as one line, never as a traceback."""


class UserError(ValueError):
    """A wrong key, task, space, size, path or checkpoint; the message names it and the remedy."""


class RecordError(UserError):
    """An environment's record has other keys, shapes or types than its spaces say."""


class InvalidValueError(RecordError):
    """A value in an environment's record that its space rules out."""
