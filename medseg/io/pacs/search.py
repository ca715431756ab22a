"""The search for series, study by study, the same over every protocol: what was not asked for is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from medseg.io.pacs.base import Found, PacsError, Query, Series, Values, is_uid

Search = Callable[[str], Iterable[Values]]
"""The series of a study by its UID, as the server answers."""


def find_series(query: Query, studies: Iterable[Values], series_of: Search) -> Found:
    """Series that match; a study whose series cannot be listed becomes one series that says why.

    Studies are searched first, because not every server searches series across them.
    """
    by_uid = {study.get("StudyInstanceUID", ""): study for study in studies}
    asked_for = {uid: study for uid, study in sorted(by_uid.items()) if query.names(study)}
    found: list[Series] = []
    for uid, study in asked_for.items():
        found += _series_of(query, uid, {**study, "PatientID": study.get("PatientID") or query.patient}, series_of)
    return Found(tuple(found), len(by_uid) - len(asked_for))


def _series_of(query: Query, uid: str, study: Values, series_of: Search) -> list[Series]:
    if not is_uid(uid):
        return [Series.of({}, study)]
    try:
        here = {one.get("SeriesInstanceUID", ""): Series.of(one, study) for one in series_of(uid)}
    except PacsError as error:
        return [Series(uid, "", "", flaw=str(error))]
    return [here[key] for key in sorted(here) if here[key].flaw or query.wants(here[key])]
