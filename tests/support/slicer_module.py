"""The logic of the Slicer module in the libraries of a real 3D Slicer, without a window. Run by Slicer's Python.

usage: slicer_module.py MODULE_FOLDER PROGRAM MODEL VOLUME.nii FOLDER    (prints one JSON object)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

module, program, model, source, folder = sys.argv[1:]
sys.path.insert(0, module)

import vtk
from MedSegLib.program import Run, find_program, read_labels, rename_command, segment_command
from MedSegLib.scene import labels_of, load_confidence, load_segments, write_volume
from vtk.util.numpy_support import vtk_to_numpy

import slicer


def matrix(fill) -> list[list[float]]:
    found = vtk.vtkMatrix4x4()
    fill(found)
    return [[found.GetElement(row, column) for column in range(4)] for row in range(4)]


scene, app = slicer.vtkMRMLScene(), slicer.vtkMRMLApplicationLogic()
app.SetMRMLScene(scene)
volumes, segmentations = slicer.vtkSlicerVolumesLogic(), slicer.vtkSlicerSegmentationsModuleLogic()
for logic in (volumes, segmentations):
    logic.SetMRMLScene(scene)
    logic.SetMRMLApplicationLogic(app)

volume = volumes.AddArchetypeVolume(source, "volume", 0)
out = Path(folder)
scan = write_volume(volume, out / "scan.nii")
known = read_labels(Path(model))
command = segment_command(find_program(program), Path(model), scan, out / "labels.seg.nrrd", out / "sure.nii.gz", "cpu")
run = Run(command).start()
run.check()
node = load_segments(segmentations, out / "labels.seg.nrrd", "volume labels", volume)
sure = load_confidence(volumes, out / "sure.nii.gz", "volume confidence")
segments = []
for place in range(node.GetSegmentation().GetNumberOfSegments()):
    segment = node.GetSegmentation().GetNthSegment(place)
    image = segment.GetRepresentation("Binary labelmap")
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    segments.append({
        "name": segment.GetName(), "color": [round(255 * part) for part in segment.GetColor()],
        "voxels": int((voxels == segment.GetLabelValue()).sum()), "affine": matrix(image.GetImageToWorldMatrix),
        "extent": list(image.GetExtent()),
    })  # fmt: skip
first = node.GetSegmentation().GetNthSegment(0)
first.SetName("renamed in Slicer")
first.SetColor(1.0, 0.0, 0.0)
first.SetTag("TerminologyEntry", "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^"
             "Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^|")  # fmt: skip
now = labels_of(node, known)
rename = rename_command(find_program(program), Path(model), now, known)
Run(rename).start().check()
values = vtk_to_numpy(sure.GetImageData().GetPointData().GetScalars())
print(json.dumps({
    "progress": run.progress, "segments": segments, "confidence": [float(values.min()), float(values.max())],
    "confidence_affine": matrix(sure.GetIJKToRASMatrix), "rename": rename[3:],
    "read_again": [[label.name, list(label.color), label.code] for label in read_labels(Path(model))],
}))  # fmt: skip
