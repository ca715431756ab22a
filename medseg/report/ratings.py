"""What a person thinks of each scan's labels: pass, exclude, a note; saved by the page, kept beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import ConfigError
from medseg.io.csv_table import write_csv
from medseg.wording import count_of

FILE = "ratings.csv"
COLUMNS = ("scan", "rating", "note")
RATINGS = ("", "pass", "exclude")
MOST_CHARACTERS = 2000
"""Of a note."""


@dataclass(frozen=True)
class Rating:
    """Of one scan.

    Attributes:
        rating: ``pass``, ``exclude``, or empty where there is only a note.
        note: free text; the person who wrote it answers for names in it.
    """

    rating: str
    note: str = ""


def read_ratings(path: Path) -> dict[str, Rating]:
    """The ratings in a CSV file with the columns scan, rating, note, by scan; later rows win.

    Raises:
        ConfigError: it cannot be read, has other columns, or holds another rating.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{path.name}: cannot be read as text ({type(error).__name__}); save the ratings again"
        ) from None
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(rows.fieldnames or ())[: len(COLUMNS)] != COLUMNS:
        raise ConfigError(
            f"{path.name}: found other columns, expected {', '.join(COLUMNS)}; save the ratings of the page again"
        )
    found = {}
    for number, row in enumerate(rows, start=2):
        rating, note = (row["rating"] or "").strip().lower(), row["note"] or ""
        if rating not in RATINGS:
            raise ConfigError(
                f"{path.name}, row {number}: found the rating {rating[:20]!r}, expected pass, exclude or none"
            )
        found[row["scan"] or ""] = Rating(rating, note[:MOST_CHARACTERS])
    return found


def kept_ratings(out: Path) -> dict[str, Rating]:
    """The ratings that a folder keeps; none without its file."""
    path = out / FILE
    return read_ratings(path) if path.is_file() else {}


def keep_ratings(out: Path, ratings: Mapping[str, Rating], known: frozenset[str]) -> None:
    """Write the ratings of `known` scans into the folder, whole.

    Raises:
        ConfigError: a scan that the folder has not.
    """
    strange = sorted(set(ratings) - known)
    if strange:
        raise ConfigError(f"--ratings: found {count_of(len(strange), 'scan')} that this folder has not, such as "
                          f"{strange[0]}; give the ratings of this run")  # fmt: skip
    rows = [(scan, rating.rating, rating.note) for scan, rating in sorted(ratings.items())]
    write_csv([COLUMNS, *(row for row in rows if row[1] or row[2])], out / FILE)
