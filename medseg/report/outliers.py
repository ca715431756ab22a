"""Which scans are unlike the training scans: the flags of their records."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.quality.reference import Flag, label_measure
from medseg.report.outcome import Outcome


@dataclass(frozen=True)
class Odd:
    """The share of label `number` in scan number `scan` of the manifest is flagged."""

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
    numbers = {label_measure(label.number, "share"): label.number for label in outcome.labels}
    found = [(place, numbers[flag.measure], flag) for place, flag in flagged(outcome) if flag.measure in numbers]
    return {(place, number): Odd(place, number, flag.found > flag.high) for place, number, flag in found}
