"""Which scans are unlike the training scans: the flags of their records."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.quality.measures import Flag
from medseg.report.outcome import Outcome


@dataclass(frozen=True)
class Odd:
    """The share of label `number` in scan number `scan` of the run is flagged."""

    scan: int
    number: int
    is_more: bool


def flagged(outcome: Outcome) -> list[tuple[int, Flag]]:
    """(place of the scan, flag), scans with most flags first."""
    places = [place for place, scan in enumerate(outcome.scans) if scan.flags]
    ordered = sorted(places, key=lambda place: -len(outcome.scans[place].flags))
    return [(place, flag) for place in ordered for flag in outcome.scans[place].flags]


def odd_shares(outcome: Outcome) -> dict[tuple[int, int], Odd]:
    """Labels of which there is unusually much or little, by (place of the scan, label number)."""
    return {
        (place, flag.label): Odd(place, flag.label, is_more=flag.found > flag.high)
        for place, scan in enumerate(outcome.scans)
        for flag in scan.flags
        if flag.label is not None and flag.measure == "share"
    }
