"""How a scan was acquired, in numbers and defined terms of its headers: what a reader tells a T1 from a FLAIR by.

No free text and no identifier is among them, so they may be shown and kept where descriptions, which hold whatever a
technologist typed, may not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from medseg.io.weighting import Times, weighting_of


@dataclass(frozen=True)
class Facts:
    """What headers say of an acquisition; what they do not say is empty or None.

    Attributes:
        modality: DICOM modality, such as ``MR``.
        sequence: kinds of MR sequence (ScanningSequence), such as ``("IR", "GR")``.
        variant: variants of it (SequenceVariant), such as ``SP``, spoiled.
        dimension: ``2D`` or ``3D`` (MR).
        tr_ms: repetition time.
        te_ms: echo time.
        ti_ms: inversion time.
        flip_deg: flip angle.
        kernel: reconstruction kernel (CT), letters, digits and ``.+-_/`` only.
        kvp: tube voltage (CT).
        thickness_mm: thickness of a slice, which may differ from the distance between slices.
        units: of the values (PET), such as ``BQML``.
        agent: contrast agent: ``yes``, ``no``, or ``unknown``; an empty element says nothing.
        special: ``angiography``, ``phase``, ``map`` or ``projection`` where the files say that it is one (MR).
        suffix: of a BIDS file, such as ``T1w``.
    """

    modality: str = ""
    sequence: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    dimension: str = ""
    tr_ms: float | None = None
    te_ms: float | None = None
    ti_ms: float | None = None
    flip_deg: float | None = None
    kernel: str = ""
    kvp: float | None = None
    thickness_mm: float | None = None
    units: str = ""
    agent: str = "unknown"
    special: str = ""
    suffix: str = ""

    @property
    def weighting(self) -> str:
        """What an MR image is probably weighted by, such as ``T1-weighted``; empty where the facts leave it open."""
        if self.modality not in ("", "MR") or self.special or None in (self.tr_ms, self.te_ms):
            return ""
        times = Times(self.tr_ms or 0, self.te_ms or 0, self.ti_ms, self.flip_deg)
        return weighting_of(self.sequence, self.variant, times)

    @property
    def label(self) -> str:
        """For people: ``MR T1-weighted (guess) 3D IR/GR TR 2300 TE 3 TI 900``; empty when nothing is known."""
        return " ".join(filter(None, (*self._kind(), *self._numbers())))

    @property
    def kind(self) -> str:
        """What the series of one cohort should have in common: `label` without numbers, and whether there is an agent.

        Where a BIDS suffix says what the image is, that stands for all but the agent.
        """
        words = [self.suffix] if self.suffix else self._kind()
        return " ".join(filter(None, (*words, "with contrast agent" if self.agent == "yes" else "")))

    def as_object(self) -> dict[str, Any]:
        """Plain values for JSON, the guess among them by a name of its own."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**values, "weighting_guess": self.weighting or None}

    def _kind(self) -> tuple[str, ...]:
        guess = self.weighting
        kernel = f"kernel {self.kernel}" if self.kernel else ""
        guess = f"{guess} (guess)" if guess else ""
        parts = (guess, self.special, self.dimension, "/".join(self.sequence), kernel, self.units)
        return (self.modality, *parts)

    def _numbers(self) -> tuple[str, ...]:
        named = (("TR", self.tr_ms), ("TE", self.te_ms), ("TI", self.ti_ms), ("FA", self.flip_deg))
        mr = (f"{name} {value:.3g}" if value < 1000 else f"{name} {value:.0f}" for name, value in named if value)
        kvp = f"{self.kvp:.0f} kVp" if self.kvp else ""
        is_shown = self.modality in ("CT", "PT") and self.thickness_mm
        return (*mr, kvp, f"slices {self.thickness_mm:.3g} mm" if is_shown else "")


NOTHING = Facts()
"""Of a file that says nothing of how it was acquired."""
