"""What `medseg doctor` looks at: packages, PyTorch, decoders, memory, disk and the tools of others.

Nothing but the standard library is imported before it is known to be here.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from medseg.batch.amounts import size
from medseg.batch.fork_server import HAS_FORK_SERVER
from medseg.batch.resources import available_memory, n_cpus, total_memory
from medseg.version import __version__

Status = Literal["ok", "missing", "absent", "warning"]

PACKAGES = {
    "torch": "torch", "monai": "monai", "numpy": "numpy", "scipy": "scipy", "scikit-learn": "sklearn",
    "scikit-image": "skimage", "threadpoolctl": "threadpoolctl", "nibabel": "nibabel", "pydicom": "pydicom",
    "pyjpegls": "jpeg_ls", "highdicom": "highdicom", "SimpleITK": "SimpleITK", "connected-components-3d": "cc3d",
    "fill-voids": "fill_voids", "zlib-ng": "zlib_ng", "safetensors": "safetensors", "pydantic": "pydantic",
    "PyYAML": "yaml", "rich": "rich", "pillow": "PIL", "Jinja2": "jinja2",
}  # fmt: skip
"""Packages that medseg needs, and the modules that they bring."""
EXTRAS = {
    "ipyniivue": ("ipyniivue", "viewer of report.html", 'pip install --no-deps "ipyniivue>=2.4,<3"'),
    "distributed": ("distributed", "Dask clusters (--scheduler)", 'pip install "medseg[dask]"'),
    "requests": ("requests", "DICOMweb (medseg pacs)", 'pip install "medseg[pacs]"'),
    "pynetdicom": ("pynetdicom", "DIMSE (medseg pacs)", 'pip install "medseg[pacs]"'),
    "tensorboard": ("tensorboard", "--tensorboard", 'pip install "medseg[tensorboard]"'),
    "nilearn": ("nilearn", "the brain of the demo", 'pip install "medseg[sample]"'),
    "deepbet": ("deepbet", "brain masks", 'pip install "medseg[brain]"'),
}
"""Packages that add something: their modules, what for, how to get them."""
PROGRAMS = {
    "hd-bet": ("brain masks", ("hd-bet",)),
    "mri_synthstrip": ("brain masks", ("mri_synthstrip", "nipreps-synthstrip")),
    "3D Slicer": ("looking at results", ("Slicer", "slicer")),
    "dcmqi": ("DICOM segmentations in other tools", ("segimage2itkimage", "itkimage2segimage")),
    "Orthanc": ("a PACS to try medseg pacs with", ("Orthanc",)),
    "dcm2niix": ("converting what medseg refuses by name", ("dcm2niix",)),
    "bids-validator": ("checking BIDS datasets", ("bids-validator", "bids-validator-deno")),
}
"""Programs of others: what for, and the names that they go by."""
LEAST_MEMORY, LEAST_DISK = 4 << 30, 1 << 30
"""Bytes below which a scan of usual size will not fit."""


class Finding(NamedTuple):
    """One thing looked at.

    Attributes:
        status: ``missing`` is what medseg needs; what it can do without is ``absent``, or too little (``warning``).
        found: version, number or size; never a path, which may hold names.
        advice: what to do where it is missing.
    """

    name: str
    status: Status
    found: str
    advice: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether medseg needs it and it is not here."""
        return self.status == "missing"


def examine(folder: Path) -> list[Finding]:
    """Everything that there is to say; `folder` is where outputs would go."""
    looks = (_python, _packages, _torch, _codecs, _machine, lambda: _folders(folder), _extras, _programs)
    return [finding for look in looks for finding in look()]


def as_json(findings: Sequence[Finding]) -> str:
    """The findings as JSON text."""
    return json.dumps([finding._asdict() for finding in findings], indent=1)


def print_findings(findings: Sequence[Finding]) -> None:
    """A table for people, and what is missing in one sentence."""
    widths = [max(map(len, column)) for column in zip(*findings, strict=True)]
    lines = ["  ".join(text.ljust(n) for text, n in zip(one, widths, strict=True)).rstrip() for one in findings]
    missing = [finding.name for finding in findings if finding.is_missing]
    lines.append(f"missing: {', '.join(missing)}" if missing else "everything that medseg needs is here")
    print("\n".join(lines))  # noqa: T201


def _python() -> Iterator[Finding]:
    yield Finding("medseg", "ok", __version__)
    is_new = sys.version_info >= (3, 11)
    yield Finding("Python", "ok" if is_new else "missing", platform.python_version(), "" if is_new else "install 3.11")
    yield Finding("system", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")


def _packages() -> Iterator[Finding]:
    for name, module in PACKAGES.items():
        is_here = find_spec(module) is not None
        yield Finding(name, "ok" if is_here else "missing", _version(name) if is_here else "",
                      "" if is_here else f"pip install {name}")  # fmt: skip


def _torch() -> Iterator[Finding]:
    if find_spec("torch") is None:
        return
    try:
        import torch
    except (ImportError, OSError) as error:  # such as libraries of CUDA that do not fit
        yield Finding("PyTorch", "missing", f"installed, but cannot be imported ({type(error).__name__})",
                      "install the build for this machine")  # fmt: skip
        return
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not n_devices:
        built = torch.version.cuda or ""
        why = "no GPU or no driver" if built else "a build of PyTorch without CUDA"
        yield Finding("GPU", "absent", "none", f"{why}; everything runs on the CPU")
    for number in range(n_devices):
        facts = torch.cuda.get_device_properties(number)
        yield Finding(f"GPU cuda:{number}", "ok", f"{facts.name}, {size(facts.total_memory)}, {torch.version.cuda}")
    yield Finding("threads of PyTorch", "ok", str(torch.get_num_threads()))


def _codecs() -> Iterator[Finding]:
    try:
        from medseg.io.dicom.rejections import codecs
    except (ImportError, OSError):  # PyTorch is broken, which is said above
        return
    for name, is_decodable in codecs().items():
        yield Finding(f"DICOM {name}", "ok" if is_decodable else "absent", "decoded" if is_decodable else "",
                      "" if is_decodable else 'pip install "medseg[codecs]"')  # fmt: skip


def _machine() -> Iterator[Finding]:
    yield Finding("cores", "ok", str(n_cpus()))
    total, free = total_memory(), available_memory()
    is_little = 0 < total < LEAST_MEMORY
    found = f"{size(total)}" + (f", {size(free)} available" if free else "") if total else "not known"
    yield Finding("memory", "warning" if is_little else "ok", found,
                  f"below {size(LEAST_MEMORY)} large scans will not fit" if is_little else "")  # fmt: skip
    yield Finding("worker processes", "ok" if HAS_FORK_SERVER else "absent",
                  "forked from a server" if HAS_FORK_SERVER else "started one by one")  # fmt: skip


def _folders(folder: Path) -> Iterator[Finding]:
    for name, place in (("output folder", folder), ("temporary folder", Path(tempfile.gettempdir()))):
        there = next((path for path in (place.absolute(), *place.absolute().parents) if path.is_dir()), place)
        if not _is_writable(there):
            yield Finding(name, "missing", "cannot be written", "give another folder, or its permissions")
            continue
        free = shutil.disk_usage(there).free
        is_little = free < LEAST_DISK
        yield Finding(name, "warning" if is_little else "ok", f"can be written, {size(free)} free",
                      "free some space" if is_little else "")  # fmt: skip


def _is_writable(folder: Path) -> bool:
    """Whether a file can be made in a folder; it is gone at once."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"yes")
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _extras() -> Iterator[Finding]:
    for name, (module, purpose, how) in EXTRAS.items():
        is_here = find_spec(module) is not None
        yield Finding(name, "ok" if is_here else "absent", _version(name) if is_here else "",
                      purpose if is_here else f"{purpose}: {how}")  # fmt: skip


def _programs() -> Iterator[Finding]:
    for name, (purpose, commands) in PROGRAMS.items():
        known = next((command for command in commands if shutil.which(command)), "")
        yield Finding(name, "ok" if known else "absent", known, purpose)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "found"
