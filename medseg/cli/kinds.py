"""What is said of a cohort that mixes kinds of series: one model learns one kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from medseg.batch.progress import say
from medseg.io.scan import Scan

_MOST_NAMED = 4
_HOW = "medseg inspect tells them apart (--show-descriptions: as they were typed), --series GLOB picks"


def say_mixed(scans: Sequence[Scan]) -> None:
    """Warn in one sentence, without a word that people typed; say nothing when one kind is there, or none is known."""
    usable = [scan for scan in scans if scan.is_ok]
    kinds = Counter(scan.facts.kind for scan in usable if scan.facts.kind)
    descriptions = {plain for scan in usable if (plain := _plain(scan.free_text.description))}
    if len(kinds) > 1:
        n_other = sum(count for _, count in kinds.most_common()[_MOST_NAMED:])
        named = [f"{count} x {kind}" for kind, count in kinds.most_common(_MOST_NAMED)]
        listed = "; ".join([*named, *([f"{n_other} x others"] if n_other else [])])
        say(f"warning: found {len(kinds)} kinds of series ({listed}), expected one for one model; {_HOW}")
    elif len(descriptions) > 1:
        say(f"warning: found {len(descriptions)} different descriptions among {len(usable)} series, expected one kind "
            f"of series for one model; {_HOW}")  # fmt: skip


def _plain(description: str) -> str:
    """A description without what differs between series of one kind: case, signs, numbers that stand alone."""
    words = re.split(r"[^a-z0-9]+", description.casefold())
    return " ".join(word for word in words if word and not word.isdigit())
