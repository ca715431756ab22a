"""Which scans are worked on: patterns for their paths, given by people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from medseg.io.scan import Scan


class Selection(NamedTuple):
    """Patterns such as ``*_T1w.nii.gz`` or ``labelsTr``; they match ids, names of files, and paths or folders.

    Attributes:
        include: when there are any, only what matches one of them is taken, and as a scan even if it looks like labels.
        exclude: what matches one of them is left out.
        series: when there are any, only series whose description matches one of them are taken, whatever its case.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    series: Sequence[str] = ()

    def takes(self, names: Iterable[str]) -> bool:
        """Whether a scan of these names (its id, the paths of its files) is taken."""
        if not self.include and not self.exclude:
            return True
        known = list(names)
        return (not self.include or self.wants(known)) and not _matches(self.exclude, known)

    def takes_series(self, scan: Scan) -> bool:
        """Whether a scan is taken by its description, or by what the scanner was told where there is none.

        A damaged DICOM file is taken: nobody knows to which series it belongs.
        """
        if not self.series or (scan.format == "dicom" and scan.series is None):
            return True
        described = (scan.free_text.description or scan.free_text.protocol).casefold()
        return bool(described) and any(fnmatchcase(described, pattern.casefold()) for pattern in self.series)

    def wants(self, names: Iterable[str]) -> bool:
        """Whether a scan of these names is asked for by a pattern."""
        return bool(self.include) and _matches(self.include, names)


def _matches(patterns: Sequence[str], names: Iterable[str]) -> bool:
    every = [form for pattern in patterns for form in _forms(pattern)]
    return any(fnmatchcase(part, form) for name in names for part in (name, name.rpartition("/")[2]) for form in every)


def _forms(pattern: str) -> list[str]:
    """A pattern, the same for all below a folder, and without the ``**/`` that may stand for no folder."""
    plain = pattern.removeprefix("./").rstrip("/")
    forms = [plain, f"{plain}/*"]
    return [*forms, *(form.removeprefix("**/") for form in forms if form.startswith("**/")), f"*/{plain}/*"]
