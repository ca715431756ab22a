"""Labels as surfaces in space, drawn without a screen: a preview in three dimensions for papers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from medseg.errors import ConfigError
from medseg.io.atomic import whole_file
from medseg.labels.table import Label
from medseg.model.segmentation import LabelArray
from medseg.spatial.geometry import Geometry

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkImageData

_EYE = (0.9, 1.6, 0.6)
"""Where the camera stands as seen from the middle, in RAS: in front, at the patient's right, a little above."""
_SMOOTHING = 20
"""Rounds by which the steps between voxels are smoothed (windowed sinc: Taubin et al., ECCV 1996)."""
_CLEAR = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


def draw_surfaces(
    labels: LabelArray, geometry: Geometry, shown: Sequence[Label], path: Path, *, side: int, background: str
) -> None:
    """Write a PNG of `side` x `side` pixels with a surface for each of the `shown` labels of (I, J, K) `labels`.

    Raises:
        ConfigError: no PNG, no VTK, or none of the labels is in the scan.
    """
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path.name}: found the suffix {path.suffix or 'none'}, expected .png; rename it")
    if find_spec("vtkmodules") is None:
        raise ConfigError('surfaces are drawn by VTK, which is not installed; run pip install "medseg[figure3d]"')
    there = [label for label in shown if bool((labels == label.number).any())]
    if not there:
        raise ConfigError("found none of the labels in the scan, expected at least one; choose others with --labels")
    pixels = _rendered(labels, geometry, there, side, background)
    with whole_file(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", optimize=True)


def _rendered(
    labels: LabelArray, geometry: Geometry, shown: Sequence[Label], side: int, background: str
) -> npt.NDArray[np.uint8]:
    import vtkmodules.vtkRenderingOpenGL2  # noqa: F401, it registers how to render
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow, vtkWindowToImageFilter

    renderer, window = vtkRenderer(), vtkRenderWindow()
    renderer.SetBackground(*_CLEAR[background])
    volume = _as_vtk(labels, geometry)
    for label in shown:
        renderer.AddActor(_actor(volume, label))
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(side, side)
    window.AddRenderer(renderer)
    camera = renderer.GetActiveCamera()
    camera.SetFocalPoint(0, 0, 0)
    camera.SetPosition(*_EYE)
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    camera.Zoom(1.3)
    renderer.ResetCameraClippingRange()
    window.Render()
    taken = vtkWindowToImageFilter()
    taken.SetInput(window)
    taken.ReadFrontBufferOff()
    taken.Update()
    values = vtk_to_numpy(taken.GetOutput().GetPointData().GetScalars())
    return np.ascontiguousarray(values.reshape(side, side, -1)[::-1, :, :3])


def _as_vtk(labels: LabelArray, geometry: Geometry) -> vtkImageData:
    """The volume in RAS+ mm, with a border of background that closes every surface."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData

    padded = np.pad(labels, 1).astype(np.int32)
    volume = vtkImageData()
    volume.SetDimensions(*padded.shape)
    spacing = np.asarray(geometry.spacing_mm)
    volume.SetSpacing(*spacing)
    volume.SetOrigin(*geometry.to_world([[-1, -1, -1]])[0])
    volume.SetDirectionMatrix(*(geometry.affine[:3, :3] / spacing).ravel())
    volume.GetPointData().SetScalars(numpy_to_vtk(padded.ravel(order="F"), deep=True))
    return volume


def _actor(volume: vtkImageData, label: Label) -> Any:
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals, vtkWindowedSincPolyDataFilter
    from vtkmodules.vtkFiltersGeneral import vtkDiscreteFlyingEdges3D
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    edges, smooth, normals = vtkDiscreteFlyingEdges3D(), vtkWindowedSincPolyDataFilter(), vtkPolyDataNormals()
    edges.SetInputData(volume)
    edges.SetValue(0, label.number)
    smooth.SetInputConnection(edges.GetOutputPort())
    smooth.SetNumberOfIterations(_SMOOTHING)
    smooth.SetPassBand(0.05)
    smooth.NonManifoldSmoothingOn()
    smooth.NormalizeCoordinatesOn()
    normals.SetInputConnection(smooth.GetOutputPort())
    normals.SplittingOff()
    mapper, actor = vtkPolyDataMapper(), vtkActor()
    mapper.SetInputConnection(normals.GetOutputPort())
    mapper.ScalarVisibilityOff()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*(part / 255 for part in label.color))
    return actor
