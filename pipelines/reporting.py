"""`medseg report`: one page with what was found, what was refused and why, every label and every scan."""

from __future__ import annotations

from medseg.report.write import write_report

__all__ = ["write_report"]
