"""Which scans are unlike the training scans: the flags of the manifest, as `medseg.quality.reference` wrote them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medseg.report.outcome import Outcome

_OF_LABEL = re.compile(r"label (\d+) share (\S+) %, expected (\S+) to (\S+) %")


@dataclass(frozen=True)
class Odd:
    """The share of label `number` in scan number `scan` of the manifest is flagged."""

    scan: int
    number: int
    is_more: bool


def flagged(outcome: Outcome) -> list[tuple[int, str]]:
    """(place of the scan, flag in words), scans with most flags first."""
    places = [place for place, scan in enumerate(outcome.scans) if scan.flags]
    ordered = sorted(places, key=lambda place: -len(outcome.scans[place].flags))
    return [(place, flag) for place in ordered for flag in outcome.scans[place].flags]


def odd_shares(outcome: Outcome) -> dict[tuple[int, int], Odd]:
    """Labels of which there is unusually much or little, by (place of the scan, label number)."""
    odd = {}
    for place, flag in flagged(outcome):
        found = _OF_LABEL.fullmatch(flag)
        if found:
            number = int(found[1])
            odd[place, number] = Odd(place, number, is_more=float(found[2]) > float(found[4]))
    return odd
