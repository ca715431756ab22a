"""Volumes out of the scene and segments into it, by Slicer's core alone: works with a window and without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vtk

import slicer
from MedSegLib.program import Label, ProgramError

_CODED = 5
"""Parts of a terminology entry up to the type: context, category, type."""


def write_volume(node: Any, path: Path) -> Path:
    """Write a scalar volume node as NIfTI, in the space of the scanner.

    Raises:
        ProgramError: it cannot be written.
    """
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)
    if not storage.WriteData(node):
        raise ProgramError(
            "the volume cannot be written; is it a scalar volume without a transform that is not linear?"
        )
    return path


def load_segments(logic: Any, path: Path, name: str, volume: Any) -> Any:
    """A segmentation node from a ``.seg.nrrd`` file, on the grid of `volume`.

    Args:
        logic: ``vtkSlicerSegmentationsModuleLogic`` of the scene.

    Raises:
        ProgramError: Slicer cannot read it.
    """
    node = logic.LoadSegmentationFromFile(str(path), True, name, None)
    if node is None:
        raise ProgramError(f"Slicer cannot read {path.name}")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    if volume.GetParentTransformNode() is not None:
        node.SetAndObserveTransformNodeID(volume.GetParentTransformNode().GetID())
    return node


def load_confidence(logic: Any, path: Path, name: str) -> Any:
    """A scalar volume node from the NIfTI file of the confidence, 0 to 1.

    Args:
        logic: ``vtkSlicerVolumesLogic`` of the scene.
    """
    node = logic.AddArchetypeVolume(str(path), name, 0)
    if node is None:
        raise ProgramError(f"Slicer cannot read {path.name}")
    return node


def labels_of(node: Any, known: Sequence[Label]) -> list[Label]:
    """The labels of a model with the names, colours and codes that their segments have now."""
    segmentation = node.GetSegmentation()
    found = {}
    for place in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(place)
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        found[segment.GetLabelValue()] = (segment.GetName(), (red, green, blue), _code_of(segment))
    return [
        Label(label.number, *found[label.number][:2], found[label.number][2] or label.code)
        if label.number in found
        else label
        for label in known
    ]


def _code_of(segment: Any) -> tuple[str, str] | None:
    """(value, meaning) of the segment's type where it is one of SNOMED CT, but not the general tissue."""
    tag = vtk.reference("")
    if not segment.GetTag("TerminologyEntry", tag):
        return None
    parts = str(tag).split("~")
    if len(parts) < _CODED:
        return None
    scheme, value, meaning = [*parts[2].split("^"), "", "", ""][:3]
    return (value, meaning) if scheme == "SCT" and value not in {"", "85756007"} else None
