"""The page of a run: one HTML file that needs no network, with everything that people want to know of it first."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

from medseg.model.stability import STABLE
from medseg.report.brain_masks import mask_rows, tools_of
from medseg.report.confidence import confidence_note
from medseg.report.drawing import training_curve
from medseg.report.facts import folded_facts, shown_facts
from medseg.report.labels import intensity_unit, label_rows
from medseg.report.location import NOTE
from medseg.report.markup import fill, source_hash
from medseg.report.methods import methods_of
from medseg.report.outcome import Outcome
from medseg.report.outliers import flagged, odd_shares
from medseg.report.render import RAMP
from medseg.report.scans import scan_lines
from medseg.report.training import example_rows
from medseg.report.viewer import ScanView, scan_view

TABLES = tuple(f"{name}.csv" for name in ("manifest", "volumes", "group", "statistics", "radiomics", "quality",
                                        "places", "habitats", "ratings"))  # fmt: skip
"""What a folder may hold beside the page, in the order in which it is linked."""


def render_page(out: Path, outcome: Outcome, *, single_file: bool = False) -> str:
    """The whole page; pictures are drawn from the slices below `out`.

    Args:
        single_file: the viewer and its volumes stand inside the page rather than beside it, and nothing is linked.
    """
    odd, view = odd_shares(outcome), scan_view(out, outcome, single_file=single_file)
    style, script = (files("medseg.report").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    lines = scan_lines(out, outcome, view, is_alone=single_file)
    masks = mask_rows(out, outcome, is_inline=single_file)
    shown = [line.knows_confidence for line in lines if line.knows_confidence is not None]
    return fill(
        "page.html.j2",
        style=style,
        script=script,
        policy=_policy(style, script, view),
        outcome=outcome,
        counts=Counter(scan.status for scan in outcome.scans),
        flagged=flagged(outcome),
        n_flagged=sum(bool(scan.flags) for scan in outcome.scans),
        odd=odd,
        label_rows=label_rows(out, outcome, odd),
        intensity_unit=intensity_unit(outcome),
        stable=STABLE,
        where_note=NOTE,
        lines=lines,
        confidence=confidence_note(outcome, shown),
        ramp=RAMP,
        view=view,
        masks=masks,
        mask_tools=tools_of(masks),
        curve=training_curve(outcome.losses, outcome.n_steps),
        examples=example_rows(out, outcome.created),
        facts=shown_facts(outcome.facts),
        folded=folded_facts(outcome.facts),
        tables=() if single_file else tuple(name for name in TABLES if (out / name).is_file()),
        methods=methods_of(outcome.facts, [scan.mask for scan in outcome.scans if scan.is_done]),
    )


def _policy(style: str, script: str, view: ScanView | None) -> str:
    """What the browser may load: this style, this script, pictures inside the page, the viewer."""
    own = f"default-src 'none'; img-src data: blob:; style-src {source_hash(style)}; script-src {source_hash(script)}"
    return own + (view.sources() if view else "")
