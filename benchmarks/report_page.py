"""Size and opening time of report.html for many scans: ``python -m benchmarks.report_page --scans 200``.

The scans are records of one phantom (picture and volumes of full size, shared by hard links), so that only the page is
measured. Chromium opens it when node, playwright-core and axe-core are there (see tests/test_browser.py).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from medseg.report.write import write_report
from sample_data.report_folder import make_out


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--side", type=int, default=192, help="voxels of a scan along each axis")
    parser.add_argument("--node-modules", type=Path, default=os.environ.get("MEDSEG_NODE_MODULES"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = make_out(Path(folder) / "out", args.scans, side=args.side)
        started = time.monotonic()
        page = write_report(out)
        seconds = time.monotonic() - started
        volume = (out / "report" / "volumes" / "scan000.js").stat().st_size
        print(f"{args.scans} scans: written in {seconds:.1f} s, page {page.stat().st_size / 1e6:.1f} MB, "
              f"volumes of one scan {volume / 1e6:.1f} MB beside it")  # fmt: skip
        if args.node_modules and shutil.which("node"):
            print(f"opened in {_open(page, args.node_modules):.2f} s")


def _open(page: Path, modules: Path) -> float:
    """Seconds until Chromium has loaded the page."""
    script = Path(__file__).parents[1] / "tests" / "support" / "browser_page.mjs"
    command = ["node", str(script), page.as_uri(), str(page.parent), str(Path(modules).resolve()), "open"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return float(json.loads(done.stdout)["open_ms"]) / 1000


if __name__ == "__main__":
    main()
