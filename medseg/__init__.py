"""medseg: label-free segmentation of 3D medical scans.

The five lines that the rest is a comment on::

    scans = medseg.find_scans("scans/")
    model = medseg.Model.fit(scans, medseg.load_config("brain_t1"))
    for scan in scans:
        result = model.segment(medseg.read_scan(scan))
        medseg.write_labels(result.labels, result.geometry, Path(f"{scan.id}_seg.nii.gz"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.autoencoder import load_encoder
    from medseg.bundle import network_input, write_bundle
    from medseg.config import Config, load_config
    from medseg.errors import ConfigError, InputError, MedsegError, ModelError
    from medseg.geometry import Geometry, resample
    from medseg.io.channels import group_channels
    from medseg.io.dicom_seg import read_dicom_seg, write_dicom_seg
    from medseg.io.find import find_scans
    from medseg.io.labels import read_labels, write_color_table, write_labels
    from medseg.io.read import read_scan
    from medseg.io.scan import Scan
    from medseg.io.slicer import write_seg_nrrd
    from medseg.io.slicer_scene import write_mrb
    from medseg.label_table import Code, Label, LabelTable
    from medseg.model import Model, Segmentation

__version__ = "0.1.0"

# torch takes seconds to import, so a name is loaded when it is first used.
_HOME = {
    "load_encoder": "autoencoder",
    "network_input": "bundle",
    "write_bundle": "bundle",
    "Config": "config",
    "load_config": "config",
    "ConfigError": "errors",
    "InputError": "errors",
    "MedsegError": "errors",
    "ModelError": "errors",
    "Geometry": "geometry",
    "resample": "geometry",
    "find_scans": "io.find",
    "group_channels": "io.channels",
    "read_labels": "io.labels",
    "write_color_table": "io.labels",
    "write_labels": "io.labels",
    "read_scan": "io.read",
    "Scan": "io.scan",
    "write_seg_nrrd": "io.slicer",
    "read_dicom_seg": "io.dicom_seg",
    "write_dicom_seg": "io.dicom_seg",
    "write_mrb": "io.slicer_scene",
    "Code": "label_table",
    "Label": "label_table",
    "LabelTable": "label_table",
    "Model": "model",
    "Segmentation": "model",
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
