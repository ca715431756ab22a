"""The families of errors: each says in one sentence what was found, what was expected, what to do."""

from __future__ import annotations

from pathlib import Path


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


class OutputError(MedsegError):
    """A place cannot be written (full, over quota, read-only, broken): neither a scan nor a setting is wrong.

    Attributes:
        code: stable reason code for programs, such as ``disk_full`` or ``read_only``.
        reason: the message without the place, whose path may tell names.
    """

    def __init__(self, reason: str, *, code: str, place: Path) -> None:
        super().__init__(f"{place}: {reason}")
        self.reason = reason
        self.code = code
        self.place = place
