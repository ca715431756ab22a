"""What a renaming of labels is about to do, kept until it is done: the same command finishes it after any stop.

The journal of an output folder is written before the model changes, and the model changes before any output does. So
a model that is still the old one means that nothing was rewritten. Of each scan the new labels are kept whole before
its outputs change, because labels that were converted once must not be converted again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from medseg.batch.resume import model_key
from medseg.errors import ConfigError
from medseg.io.atomic import scratch_folder, whole_folder
from medseg.model.model import Model
from medseg.model.record import RECORDS, record_path

_FOLDER, _MARKER, _BEFORE = "relabel", "relabel.json", "before"


@dataclass(frozen=True)
class Journal:
    """A renaming of the labels of one output folder that has begun.

    Attributes:
        before: `model_key` of the model as it was.
        after: `model_key` of the changed model.
        changes: what was asked for, as JSON.
    """

    out: Path
    before: str
    after: str
    changes: str

    @classmethod
    def begin(cls, out: Path, before: Model, after: Model, changes: str) -> Journal:
        """Keep what is about to be done, and the model as it was."""
        begun = cls(out, model_key(before), model_key(after), changes)
        facts = {"before": begun.before, "after": begun.after, "changes": changes}
        with whole_folder(begun._folder, marker=_MARKER) as temporary:
            before.save(temporary / _BEFORE)
            (temporary / _MARKER).write_text(json.dumps(facts), encoding="utf-8")
        return begun

    @classmethod
    def found(cls, out: Path) -> Journal | None:
        """The one that an interrupted command left, if there is one."""
        try:
            facts = json.loads((out / RECORDS / _FOLDER / _MARKER).read_text("utf-8"))
            return cls(out, str(facts["before"]), str(facts["after"]), str(facts["changes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def has_changed(self, model: Model) -> bool:
        """Whether `model` is the changed one, so that outputs may have been rewritten; else none was.

        Raises:
            ConfigError: it is neither that nor the one before.
        """
        key = model_key(model)
        if key not in (self.before, self.after):
            raise ConfigError(f"{self.out}: renaming its labels with another model was interrupted; run that command "
                              "again with its model first")  # fmt: skip
        return key == self.after

    def model_before(self) -> Model:
        """The model as it was."""
        return Model.load(self._folder / _BEFORE, device="cpu")

    def labels_path(self, scan: str) -> Path:
        """Where the new labels of a scan lie while its outputs are rewritten."""
        return self._folder / f"{record_path(self.out, scan).stem}.nii.gz"

    def is_done(self, scan: str) -> bool:
        """Whether all outputs of a scan are rewritten."""
        return self._done_path(scan).is_file()

    def mark_done(self, scan: str) -> None:
        """All outputs of a scan are rewritten."""
        self._done_path(scan).touch()
        self.labels_path(scan).unlink(missing_ok=True)

    def end(self) -> None:
        """Forget everything; it goes in one step."""
        with scratch_folder(self._folder) as bin_folder:
            self._folder.rename(bin_folder / _FOLDER)

    @property
    def _folder(self) -> Path:
        return self.out / RECORDS / _FOLDER

    def _done_path(self, scan: str) -> Path:
        return self._folder / f"{record_path(self.out, scan).stem}.done"
