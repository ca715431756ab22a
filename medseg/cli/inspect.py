"""`medseg inspect`: every scan found, its verdict, its geometry."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from medseg.cli.inspect_masks import Masks, mask_cell, mask_object, mask_reason
from medseg.io.scan import Scan


def as_objects(scans: Sequence[Scan], masks: Masks | None = None) -> list[dict[str, Any]]:
    """The scans as plain values; ``spacing_mm`` and ``affine`` in RAS+ mm are None where there is no grid."""
    return [
        {
            "id": scan.id,
            "path": str(scan.path),
            "verdict": scan.verdict,
            "reason": scan.reason,
            "modality": scan.modality,
            "shape": list(scan.geometry.shape) if scan.geometry else None,
            "spacing_mm": [round(s, 6) for s in scan.geometry.spacing_mm] if scan.geometry else None,
            "affine": scan.geometry.affine.tolist() if scan.geometry else None,
            "regrid": scan.regrid,
            "note": scan.note,
            **({} if masks is None else mask_object(scan, masks)),
        }
        for scan in scans
    ]


def as_json(scans: Sequence[Scan], masks: Masks | None = None) -> str:
    """`as_objects` as JSON text."""
    return json.dumps(as_objects(scans, masks), indent=1)


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


def print_table(scans: Sequence[Scan], console: Console | None = None, masks: Masks | None = None) -> None:
    """A table for people, the refused ones with their reason."""
    table = Table(box=None, header_style="bold")
    columns = ("scan", "verdict", "modality", "voxels", "spacing mm", "axes", *(() if masks is None else ("mask",)))
    for column in (*columns, "reason"):
        table.add_column(column, overflow="fold")
    channels = _channels(scans)
    for scan in scans:
        grid = scan.geometry
        table.add_row(
            scan.id,
            scan.verdict,
            scan.modality or "-",
            "x".join(map(str, grid.shape)) if grid else "-",
            " ".join(f"{s:.3g}" for s in grid.spacing_mm) if grid else "-",
            grid.axcodes if grid else "-",
            *(() if masks is None else (mask_cell(scan, masks),)),
            scan.reason or mask_reason(scan, masks) or scan.regrid or scan.note or channels.get(scan.id, ""),
        )
    if console is None:
        console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
    n_ok = sum(scan.is_ok for scan in scans)
    n_labels = sum(scan.is_label_map for scan in scans)
    n_bystanders = sum(scan.is_bystander for scan in scans)
    text = f"{len(scans)} scans found: {n_ok} ok, {len(scans) - n_ok - n_bystanders} refused"
    if n_labels:
        text += f", {n_labels} label maps"
    if n_bystanders > n_labels:
        text += f", {n_bystanders - n_labels} never were volumes"
    if masks is not None:
        text += f"; {sum(bool(found.name) for found in masks.values())} of {n_ok} have a mask"
    console.print(text, highlight=False)
