"""How soon work starts: seconds until `medseg segment` reads the model, and from there until a worker opens the scan.

``python -m benchmarks.speed_start`` fits a model to a small phantom in a few steps and segments it five times. Every
process notes when it opens the model or the scan, by an audit hook of Python that is put before it as `sitecustomize`.
The command itself looks at the scan's header too; what counts is the worker, which reads the model once more.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed_growth import write_scans
from benchmarks.table import machine
from medseg import Model, load_config, read_scan

HOOK = """
import os, sys, time
def note(event, words, log=os.environ["MEDSEG_OPENED"]):
    if event == "open" and str(words[0]).endswith(("scan0000.nii.gz", "model.json")):
        with os.fdopen(os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY), "a") as file:
            file.write(f"{os.getpid()} {os.path.basename(str(words[0]))} {time.time()}\\n")
sys.addaudithook(note)
"""


def opened(folder: Path, turn: int) -> tuple[float, float]:
    """Seconds until the command opens the model, and from there until its worker opens the scan."""
    log, out = folder / f"{turn}.txt", folder / f"out{turn}"
    words = ["segment", folder / "in", "--model", folder / "model", "--out", out, "--workers", 1, "--device", "cpu"]
    path = os.pathsep.join([str(folder / "hook"), *filter(None, [os.environ.get("PYTHONPATH")])])
    started = time.time()
    command = subprocess.Popen(
        [sys.executable, "-m", "medseg", *map(str, words)],
        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path, "MEDSEG_OPENED": str(log)},
    )  # fmt: skip
    if command.wait():
        raise SystemExit("the command failed")
    events = [(int(pid), name, float(at)) for pid, name, at in map(str.split, log.read_text().splitlines())]
    model = next(at for pid, name, at in events if name == "model.json" and pid == command.pid)
    scan = next(at for pid, name, at in events if name != "model.json" and pid != command.pid)
    return model - started, scan - model


def main() -> None:
    """Measure five starts."""
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scans(folder / "in", 1)
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        config = load_config("smoke", ["training.max_steps=4"])
        Model.fit([read_scan(folder / "in" / "scan0000.nii.gz")], config, device="cpu").save(folder / "model")
        model, scan = zip(*(opened(folder, turn) for turn in range(5)), strict=True)
        middle, longest = statistics.median(scan), max(scan)
        print(
            f"model opened after {statistics.median(model):.1f} s, scan {middle:.1f} s later (at most {longest:.1f} s)"
        )


if __name__ == "__main__":
    main()
