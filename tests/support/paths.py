"""Where tests find things: the project, its helpers, and real scans that are no part of it."""

from __future__ import annotations

import os
from pathlib import Path

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
SHARED = Path(os.environ.get("MEDSEG_SHARED", ROOT.parent / "shared"))
"""Real scans and tools beside the project; tests that need them are skipped where they are absent."""
