"""The command answers at once: nothing heavy is imported before it must be."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions


def imported_by(*words):
    """What a run of Python says, and the installed packages that it imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True)
    names = [line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()]
    return done, set(names) & set(packages_distributions())


def test_help_imports_nothing_heavy_and_lists_the_commands():
    done, found = imported_by("-m", "medseg", "--help")
    assert found - imported_by("-c", "pass")[1] <= {"medseg"}
    assert "numpy" in imported_by("-c", "import numpy")[1]
    for command in ("inspect", "run", "train", "segment", "label", "evaluate", "report"):
        assert command in done.stdout


def test_importing_the_package_does_not_import_torch():
    code = "import sys, medseg; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
