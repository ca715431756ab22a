"""Scene bundles of 3D Slicer (``.mrb``): the scan and its named segments, laid out, in one file to double-click."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.io.atomic import scratch_folder, whole_file
from medseg.io.seg_nrrd import to_itk, write_compressed, write_seg_nrrd
from medseg.labels.table import LabelTable
from medseg.runtime.disk import writing_to
from medseg.spatial.geometry import FloatArray, Geometry

VOLUME, SEGMENTATION = "scan.nrrd", "segmentation.seg.nrrd"
# Slicer's presets by the name of the view: the columns are the directions to the right, up and of depth in RAS+.
_VIEWS = {
    "Red": ("Axial", ((-1, 0, 0), (0, 1, 0), (0, 0, 1))),
    "Green": ("Coronal", ((-1, 0, 0), (0, 0, 1), (0, 1, 0))),
    "Yellow": ("Sagittal", ((0, 0, -1), (-1, 0, 0), (0, 1, 0))),
}
_NODE = "Node1"
_VOLUME_NODE = f"vtkMRMLScalarVolume{_NODE}"
_SEGMENTATION = "vtkMRMLSegmentation"
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip archive can hold: equal scenes give equal bytes."""


def write_mrb(image: MetaTensor, labels: npt.ArrayLike | torch.Tensor, table: LabelTable, path: Path) -> None:
    """Write the (1, I, J, K) scan and its (I, J, K) label map as one scene of 3D Slicer.

    Args:
        image: the scan on an orthogonal grid, the grid of `labels`.
        labels: whole numbers 0..65535, each of them in `table`.
        path: ends in ``.mrb``.

    Raises:
        ValueError: the values are no labels, do not fit the grid or the table, or the suffix is wrong.
        InputError: the grid is sheared.
        OutputError: the file cannot be written.
    """
    if not path.name.endswith(".mrb"):
        raise ValueError(f"{path.name}: 3D Slicer opens a scene bundle by its suffix, expected .mrb")
    geometry = Geometry.of(image)
    folder = re.sub(r"[^A-Za-z0-9_-]+", "_", path.name.removesuffix(".mrb")) or "scene"
    with scratch_folder(path) as parts:
        volume, segmentation = parts / VOLUME, parts / SEGMENTATION
        write_seg_nrrd(labels, geometry, table, segmentation)
        with writing_to(path):
            write_compressed(to_itk(_compact(image), geometry), volume)
        with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            _add(archive, f"{folder}/{folder}.mrml", scene_xml(geometry, path.name.removesuffix(".mrb")).encode())
            for file in (volume, segmentation):
                _add(archive, f"{folder}/Data/{file.name}", file.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.external_attr = 0o644 << 16
    kind = zipfile.ZIP_DEFLATED if name.endswith(".mrml") else zipfile.ZIP_STORED
    archive.writestr(entry, content, compress_type=kind)


def _compact(image: MetaTensor) -> npt.NDArray[np.float32] | npt.NDArray[np.int16]:
    """(I, J, K) voxels, as int16 when that loses nothing."""
    voxels = image.as_tensor()[0].float().cpu().numpy()
    limits = np.iinfo(np.int16)
    if voxels.min() >= limits.min and voxels.max() <= limits.max:
        whole = voxels.astype(np.int16)
        if np.array_equal(whole, voxels):
            return whole
    return voxels


def scene_xml(geometry: Geometry, name: str) -> str:
    """The scene (MRML): volume and segmentation with their files and displays, and three views of them."""
    corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]) * np.asarray(geometry.shape) - 0.5
    box = geometry.to_world(corners)
    centre, size_mm = (box.min(axis=0) + box.max(axis=0)) / 2, np.ptp(box, axis=0)
    grey = "color:vtkMRMLColorTableNodeGrey;"
    shown = f"display:{_SEGMENTATION}Display{_NODE};storage:{_SEGMENTATION}Storage{_NODE};"
    nodes = [
        _node("Selection", "vtkMRMLSelectionNodeSingleton", singletonTag="Singleton",
              references=f"ActiveVolume:{_VOLUME_NODE};"),
        *(node for view in _VIEWS for node in _view(view, centre, size_mm)),
        _node("VolumeArchetypeStorage", f"vtkMRMLVolumeArchetypeStorage{_NODE}", fileName=f"Data/{VOLUME}"),
        _node("VolumeDisplay", f"vtkMRMLScalarVolumeDisplay{_NODE}", references=grey, autoWindowLevel="1"),
        _node("Volume", _VOLUME_NODE, name=name, references=f"display:vtkMRMLScalarVolumeDisplay{_NODE};"
              f"storage:vtkMRMLVolumeArchetypeStorage{_NODE};"),
        _node("SegmentationStorage", f"{_SEGMENTATION}Storage{_NODE}", fileName=f"Data/{SEGMENTATION}"),
        _node("SegmentationDisplay", f"{_SEGMENTATION}Display{_NODE}", Opacity2DFill="0.4"),
        _node("Segmentation", f"{_SEGMENTATION}{_NODE}", name=f"{name} segmentation",
              references=f"referenceImageGeometryRef:{_VOLUME_NODE};{shown}"),
    ]  # fmt: skip
    return '<?xml version="1.0" encoding="UTF-8"?>\n<MRML>\n' + "\n".join(nodes) + "\n</MRML>\n"


def _node(kind: str, identifier: str, **attributes: str) -> str:
    pairs = {"id": identifier, "name": kind, **attributes}
    clean = {key: re.sub(r"[\x00-\x1f]+", " ", value) for key, value in pairs.items()}
    return f"<{kind} " + " ".join(f"{key}={quoteattr(value)}" for key, value in clean.items()) + f"></{kind}>"


def _view(name: str, centre: FloatArray, size_mm: FloatArray) -> tuple[str, str]:
    """The slice view `name` through the centre of the scan, and what it shows."""
    orientation, axes = _VIEWS[name]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = axes, centre
    side_mm = float((np.abs(pose[:3, :2]).T @ size_mm).max())
    pixels = 256
    return (
        _node("Slice", f"vtkMRMLSliceNode{name}", name=name, singletonTag=name, layoutName=name,
              orientation=orientation, fieldOfView=f"{side_mm:.6g} {side_mm:.6g} 1",
              dimensions=f"{pixels} {pixels} 1", sliceToRAS=" ".join(f"{value:.9g}" for value in pose.ravel())),
        _node("SliceComposite", f"vtkMRMLSliceCompositeNode{name}", singletonTag=name, layoutName=name,
              references=f"backgroundVolume:{_VOLUME_NODE};"),
    )  # fmt: skip
