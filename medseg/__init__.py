"""medseg: label-free segmentation of 3D medical scans.

The five lines that the rest is a comment on::

    scans = medseg.find_scans("scans/")
    model = medseg.Model.fit(scans, medseg.load_config("brain_t1"))
    for scan in scans:
        result = model.segment(scan)
        medseg.write_labels(result.labels, result.geometry, Path(f"{scan.id}_seg.nii.gz"))
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medseg.version import __version__

if TYPE_CHECKING:
    from medseg.config import Config
    from medseg.config_files import load_config
    from medseg.errors import ConfigError, InputError, MedsegError, ModelError
    from medseg.io.channels import group_channels
    from medseg.io.dicom_seg.writer import read_dicom_seg, write_dicom_seg
    from medseg.io.discovery import find_scans
    from medseg.io.label_volumes import read_labels, write_color_table, write_labels
    from medseg.io.mrb import write_mrb
    from medseg.io.read import read_scan
    from medseg.io.scan import Scan
    from medseg.io.seg_nrrd import write_seg_nrrd
    from medseg.labels.table import Code, Label, LabelTable
    from medseg.model.bundle import network_input, write_bundle
    from medseg.model.model import Model
    from medseg.model.segmentation import Segmentation
    from medseg.network.autoencoder import load_encoder
    from medseg.spatial.geometry import Geometry
    from medseg.spatial.resample import resample

# torch takes seconds to import, so a name is loaded when it is first used.
_HOME = {
    "load_encoder": "network.autoencoder",
    "network_input": "model.bundle",
    "write_bundle": "model.bundle",
    "Config": "config",
    "load_config": "config_files",
    "ConfigError": "errors",
    "InputError": "errors",
    "MedsegError": "errors",
    "ModelError": "errors",
    "Geometry": "spatial.geometry",
    "resample": "spatial.resample",
    "find_scans": "io.discovery",
    "group_channels": "io.channels",
    "read_labels": "io.label_volumes",
    "write_color_table": "io.label_volumes",
    "write_labels": "io.label_volumes",
    "read_scan": "io.read",
    "Scan": "io.scan",
    "write_seg_nrrd": "io.seg_nrrd",
    "read_dicom_seg": "io.dicom_seg.writer",
    "write_dicom_seg": "io.dicom_seg.writer",
    "write_mrb": "io.mrb",
    "Code": "labels.table",
    "Label": "labels.table",
    "LabelTable": "labels.table",
    "Model": "model.model",
    "Segmentation": "model.segmentation",
}
__all__ = [
    "Code",
    "Config",
    "ConfigError",
    "Geometry",
    "InputError",
    "Label",
    "LabelTable",
    "MedsegError",
    "Model",
    "ModelError",
    "Scan",
    "Segmentation",
    "__version__",
    "find_scans",
    "group_channels",
    "load_config",
    "load_encoder",
    "network_input",
    "read_dicom_seg",
    "read_labels",
    "read_scan",
    "resample",
    "write_bundle",
    "write_color_table",
    "write_dicom_seg",
    "write_labels",
    "write_mrb",
    "write_seg_nrrd",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    return getattr(import_module(f"medseg.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__


def _show_in_notebooks() -> None:
    """Let Jupyter show scans and segmentations as pictures, when it is a notebook that imports medseg."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    if shell is not None:
        import_module("medseg.report.notebook").register(shell.display_formatter)


_show_in_notebooks()
