"""The three families of errors: each says in one sentence what was found, what was expected, what to do."""

from __future__ import annotations


def one_line(text: str) -> str:
    """The same words in one line of printable characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


class MedsegError(Exception):
    """Base of every error that medseg raises on purpose; anything else is a bug.

    Messages quote file names and headers of strangers, so they are brought to one line of printable characters.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class InputError(MedsegError):
    """One scan cannot be used: it costs that scan, never the run.

    Attributes:
        code: stable reason code for programs, such as ``gantry_tilt`` or ``corrupt_file``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ConfigError(MedsegError):
    """A setting, flag or file name given by the user is wrong: the run stops before work starts."""


class ModelError(MedsegError):
    """A model folder is damaged, incomplete or of another format: the run stops before work starts."""
