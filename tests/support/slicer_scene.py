"""What the libraries of a real 3D Slicer load from a scene bundle. Run by Slicer's Python, see test_slicer_scene.py.

usage: slicer_scene.py BUNDLE.mrb FOLDER    (unpacks into FOLDER, prints one JSON object)
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import vtk
from vtk.util.numpy_support import vtk_to_numpy

import slicer


def matrix(fill) -> list[list[float]]:
    found = vtk.vtkMatrix4x4()
    fill(found)
    return [[found.GetElement(row, column) for column in range(4)] for row in range(4)]


def nodes(scene, kind):
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]


def volume(node) -> dict[str, object]:
    voxels = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars())
    return {
        "name": node.GetName(), "shape": list(node.GetImageData().GetDimensions()),
        "affine_ras": matrix(node.GetIJKToRASMatrix), "range": [float(voxels.min()), float(voxels.max())],
        "mean": float(voxels.mean()), "shown": node.GetDisplayNode() is not None,
    }  # fmt: skip


def segment(found) -> dict[str, object]:
    image = found.GetRepresentation("Binary labelmap")
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    tag = vtk.reference("")
    found.GetTag("TerminologyEntry", tag)
    return {
        "name": found.GetName(), "label": found.GetLabelValue(),
        "color": [round(channel * 255) for channel in found.GetColor()],
        "voxels": int((voxels == found.GetLabelValue()).sum()), "terminology": str(tag).split("~")[1:3],
        "affine_ras": matrix(image.GetImageToWorldMatrix),
    }  # fmt: skip


def segmentation(node) -> dict[str, object]:
    inside = node.GetSegmentation()
    reference = node.GetNodeReference("referenceImageGeometryRef")
    return {
        "name": node.GetName(), "shown": node.GetDisplayNode() is not None,
        "reference": reference.GetName() if reference else "",
        "segments": [segment(inside.GetNthSegment(n)) for n in range(inside.GetNumberOfSegments())],
    }  # fmt: skip


def view(node, scene) -> dict[str, object]:
    background = scene.GetNodeByID(node.GetBackgroundVolumeID() or "")
    shown = next(n for n in nodes(scene, "vtkMRMLSliceNode") if n.GetLayoutName() == node.GetLayoutName())
    return {
        "background": background.GetName() if background else "", "orientation": shown.GetOrientation(),
        "pose": matrix(lambda into: into.DeepCopy(shown.GetSliceToRAS())), "size": list(shown.GetFieldOfView()),
    }  # fmt: skip


def load(bundle: Path, folder: Path) -> dict[str, object]:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    (file,) = folder.glob("*/*.mrml")
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkMRMLApplicationLogic()
    application.SetMRMLScene(scene)
    logics = [slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkSlicerVolumesLogic()]
    for logic in logics:
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
    scene.SetURL(str(file))
    loaded = bool(scene.Connect())
    return {
        "loaded": loaded,
        "volumes": [volume(node) for node in nodes(scene, "vtkMRMLScalarVolumeNode")],
        "segmentations": [segmentation(node) for node in nodes(scene, "vtkMRMLSegmentationNode")],
        "views": {node.GetLayoutName(): view(node, scene) for node in nodes(scene, "vtkMRMLSliceCompositeNode")},
        "active": scene.GetFirstNodeByClass("vtkMRMLSelectionNode").GetActiveVolumeID() or "",
    }


if __name__ == "__main__":
    print(json.dumps(load(Path(sys.argv[1]), Path(sys.argv[2]))))
