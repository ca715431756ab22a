"""The panel of medseg in 3D Slicer: choose a model and a volume, run, name what was found."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ctk
import qt
from MedSegLib.program import (
    Label,
    ProgramError,
    Run,
    clean_environment,
    find_program,
    read_labels,
    rename_command,
    segment_command,
)
from MedSegLib.scene import labels_of, load_confidence, load_segments, write_volume
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

import slicer

_POLL_MS = 200


class MedSeg(ScriptedLoadableModule):  # type: ignore[misc]
    """What Slicer lists."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = "medseg"
        parent.categories = ["Segmentation"]
        parent.contributors = ["The medseg authors"]
        parent.helpText = (
            "Label-free segmentation with a fitted model: segments have the names, colours and codes of the model. "
            "medseg itself is installed apart from Slicer (pip install medseg). Not a medical device."
        )


class MedSegWidget(ScriptedLoadableModuleWidget):  # type: ignore[misc]
    """The panel."""

    def setup(self) -> None:
        """Build it."""
        super().setup()
        self._run: Run | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._labels: list[Label] = []
        self._segments: Any = None
        box = ctk.ctkCollapsibleButton()
        box.text = "Segment"
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)
        self._add_choices(form)
        self._add_buttons(form)
        self.layout.addStretch(1)
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self.onTimer)

    def _add_choices(self, form: Any) -> None:
        self._volume = slicer.qMRMLNodeComboBox()
        self._volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self._volume.addEnabled = self._volume.removeEnabled = False
        self._volume.setMRMLScene(slicer.mrmlScene)
        self._model, self._program = ctk.ctkPathLineEdit(), ctk.ctkPathLineEdit()
        self._model.filters = ctk.ctkPathLineEdit.Dirs
        self._model.settingKey, self._program.settingKey = "MedSeg/Model", "MedSeg/Program"
        self._program.toolTip = "empty: the medseg on the search path"
        self._device = qt.QComboBox()
        self._device.addItems(["auto", "cpu", "cuda"])
        self._confidence = qt.QCheckBox("as a second volume")
        for text, widget in (
            ("Volume", self._volume), ("Model folder", self._model), ("Program medseg", self._program),
            ("Device", self._device), ("Confidence", self._confidence),
        ):  # fmt: skip
            form.addRow(text, widget)

    def _add_buttons(self, form: Any) -> None:
        self._bar = qt.QProgressBar()
        self._bar.maximum = 100
        form.addRow(self._bar)
        texts = ("Segment", "Cancel", "Write names and colours of the segments into the model")
        self._apply, self._cancel, self._rename = (qt.QPushButton(text) for text in texts)
        buttons = (self._apply, self._cancel, self._rename)
        for button, action in zip(buttons, (self.onSegment, self.onCancel, self.onRename), strict=True):
            button.clicked.connect(action)
            form.addRow(button)
        self._cancel.enabled = self._rename.enabled = False
        self._said = qt.QLabel()
        self._said.wordWrap = True
        form.addRow(self._said)

    def cleanup(self) -> None:
        """Slicer closes: nothing goes on without it."""
        if self._run is not None:
            self._run.cancel()

    def onSegment(self) -> None:
        """Start; the panel stays alive."""
        volume = self._volume.currentNode()
        if volume is None:
            self._said.text = "Choose a volume first."
            return
        try:
            program, model = find_program(self._program.currentPath), Path(self._model.currentPath)
            self._labels = read_labels(model)
            self._folder = tempfile.TemporaryDirectory(prefix="medseg")
            folder = Path(self._folder.name)
            scan = write_volume(volume, folder / "scan.nii")
            confidence = folder / "confidence.nii.gz" if self._confidence.checked else None
            command = segment_command(
                program, model, scan, folder / "labels.seg.nrrd", confidence, self._device.currentText
            )
            self._run = Run(command).start()
        except ProgramError as error:
            self._said.text = str(error)
            return
        self._apply.enabled, self._cancel.enabled = False, True
        self._said.text = "working"
        self._timer.start()

    def onCancel(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.cancel()

    def onTimer(self) -> None:
        """Show how far it is; at the end, the segments."""
        if self._run is None:
            return
        self._bar.value = round(100 * self._run.progress)
        if self._run.is_running:
            return
        self._timer.stop()
        self._apply.enabled, self._cancel.enabled = True, False
        try:
            self._run.check()
            self._show()
        except ProgramError as error:
            self._said.text = str(error)
        finally:
            self._run = None

    def _show(self) -> None:
        volume, folder = self._volume.currentNode(), Path(self._folder.name if self._folder else "")
        self._segments = load_segments(
            slicer.modules.segmentations.logic(), folder / "labels.seg.nrrd", f"{volume.GetName()} labels", volume
        )
        self._segments.CreateDefaultDisplayNodes()
        if (folder / "confidence.nii.gz").is_file():
            load_confidence(
                slicer.modules.volumes.logic(), folder / "confidence.nii.gz", f"{volume.GetName()} confidence"
            )
            slicer.util.setSliceViewerLayers(background=volume)
        self._rename.enabled = True
        self._said.text = "done; rename segments in the Segmentations module, then write the names into the model"

    def onRename(self) -> None:
        """Names, colours and codes of the segments become those of the model."""
        try:
            now = labels_of(self._segments, self._labels)
            command = rename_command(
                find_program(self._program.currentPath), Path(self._model.currentPath), now, self._labels
            )
            if command:
                Run(command).start().check()
                self._labels = now
            self._said.text = "the model has these names" if command else "nothing has changed"
        except ProgramError as error:
            self._said.text = str(error)


class MedSegTest(ScriptedLoadableModuleTest):  # type: ignore[misc]
    """Slicer's own check that the module loads; what it does is tested without a window (tests/slicer)."""

    def runTest(self) -> None:
        """Slicer's own Python does not leak into the program."""
        assert "PYTHONHOME" not in clean_environment({"PYTHONHOME": "x", "HOME": "y"})
