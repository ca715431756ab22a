"""`medseg inspect`: every scan found, its verdict, its geometry."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medseg.cli.inspect_masks import Masks, mask_cell, mask_object, mask_reason
from medseg.io.facts import NOTHING
from medseg.io.pseudonyms import Pseudonym, pseudonyms
from medseg.io.scan import Scan
from medseg.wording import count_of

NOBODY = Pseudonym(0, 0)
"""Of scans whose files name neither patient nor study."""


def as_objects(
    scans: Sequence[Scan], masks: Masks | None = None, *, show_descriptions: bool = False
) -> list[dict[str, Any]]:
    """The scans as plain values; ``spacing_mm`` and ``affine`` in RAS+ mm are None where there is no grid.

    Args:
        masks: what is known of the mask of each scan; None: not asked for.
        show_descriptions: with what people typed, which may name the patient; None else.
    """
    owners = pseudonyms(scans)
    return [
        {
            "id": scan.id,
            "path": str(scan.path),
            "verdict": scan.verdict,
            "reason": scan.reason,
            "patient": owners[scan.id].patient if scan.id in owners else None,
            "study": owners[scan.id].study if scan.id in owners else None,
            "modality": scan.modality,
            "series": scan.facts.label,
            "facts": scan.facts.as_object(),
            "description": scan.free_text.description if show_descriptions else None,
            "protocol": scan.free_text.protocol if show_descriptions else None,
            "shape": list(scan.geometry.shape) if scan.geometry else None,
            "spacing_mm": [round(s, 6) for s in scan.geometry.spacing_mm] if scan.geometry else None,
            "affine": scan.geometry.affine.tolist() if scan.geometry else None,
            "regrid": scan.regrid,
            "note": scan.note,
            **({} if masks is None else mask_object(scan, masks)),
        }
        for scan in scans
    ]


def as_json(scans: Sequence[Scan], masks: Masks | None = None, *, show_descriptions: bool = False) -> str:
    """`as_objects` as JSON text."""
    return json.dumps(as_objects(scans, masks, show_descriptions=show_descriptions), indent=1)


def _channels(scans: Sequence[Scan]) -> dict[str, str]:
    """What to say of scans that are channels of one case in the naming of nnU-Net, by their ids."""
    cases: dict[str, list[str]] = {}
    for scan in scans:
        found = re.fullmatch(r"(.+)_(\d{4})", scan.id)
        if found and scan.format != "dicom":
            cases.setdefault(found[1], []).append(scan.id)
    return {
        scan_id: f"channel {int(scan_id[-4:])} of {len(ids)} of {case.rpartition('/')[2]}: channels are separate "
        "images here, unless the config names them (channels.by=nnunet); to take one, give a .txt list of the files "
        f"*_{scan_id[-4:]}.nii.gz"
        for case, ids in cases.items()
        if f"{case}_0000" in ids and len(ids) > 1
        for scan_id in ids
    }


def _cells(scan: Scan, channel: str, masks: Masks | None, *, show_descriptions: bool) -> Iterator[Text]:
    """One row: names and free text of strangers are no markup."""
    grid = scan.geometry
    said = (scan.free_text.description, scan.free_text.protocol)
    yield Text(scan.id)
    yield Text(scan.verdict)
    yield Text(scan.facts.label or scan.modality or "-")
    yield Text(scan.facts.agent if scan.facts != NOTHING else "-")
    if show_descriptions:
        yield Text(" | ".join(dict.fromkeys(filter(None, said))) or "-")
    yield Text("x".join(map(str, grid.shape)) if grid else "-")
    yield Text(" ".join(f"{s:.3g}" for s in grid.spacing_mm) if grid else "-")
    yield Text(grid.axcodes if grid else "-")
    if masks is not None:
        yield Text(mask_cell(scan, masks))
    yield Text(scan.reason or mask_reason(scan, masks) or scan.regrid or scan.note or channel)


def print_table(
    scans: Sequence[Scan],
    console: Console | None = None,
    *,
    masks: Masks | None = None,
    show_descriptions: bool = False,
) -> None:
    """A table for people, by patient and study, the refused ones with their reason.

    Args:
        masks: what is known of the mask of each scan, for a column; None: no column.
        show_descriptions: with a column of what people typed, which may name the patient.
    """
    table = _table(scans, masks, show_descriptions=show_descriptions)
    if console is None:
        console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
    console.print(_summary(scans, masks), highlight=False)


def _table(scans: Sequence[Scan], masks: Masks | None, *, show_descriptions: bool) -> Table:
    table = Table(box=None, header_style="bold")
    free_text = ("description",) if show_descriptions else ()
    for column in ("scan", "verdict", "series", "agent", *free_text, "voxels", "spacing mm", "axes",
                   *(() if masks is None else ("mask",)), "reason"):  # fmt: skip
        table.add_column(column, overflow="fold")
    owners, channels = pseudonyms(scans), _channels(scans)
    ordered = sorted(scans, key=lambda scan: (scan.id not in owners, owners.get(scan.id, NOBODY)))
    for owner, group in groupby(ordered, key=lambda scan: owners.get(scan.id, NOBODY)):
        if owners:
            table.add_row(Text(str(owner) if owner != NOBODY else "files that name no patient", style="bold"))
        for scan in group:
            table.add_row(*_cells(scan, channels.get(scan.id, ""), masks, show_descriptions=show_descriptions))
    return table


def _summary(scans: Sequence[Scan], masks: Masks | None) -> str:
    n_ok = sum(scan.is_ok for scan in scans)
    n_labels = sum(scan.is_label_map for scan in scans)
    n_bystanders = sum(scan.is_bystander for scan in scans)
    text = f"{count_of(len(scans), 'scan')} found: {n_ok} ok, {len(scans) - n_ok - n_bystanders} refused"
    if n_labels:
        text += f", {count_of(n_labels, 'label map')}"
    if n_bystanders > n_labels:
        text += (
            f", {n_bystanders - n_labels} never {'was a volume' if n_bystanders - n_labels == 1 else 'were volumes'}"
        )
    if masks is not None:
        text += f"; {sum(bool(found.name) for found in masks.values())} of {n_ok} have a mask"
    return text
