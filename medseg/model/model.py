"""A fitted model: the five lines that the rest is a comment on.

>>> model = Model.fit(find_scans("scans/"), load_config("brain_t1"))  # doctest: +SKIP
>>> model.save(Path("model"))  # doctest: +SKIP
>>> result = Model.load(Path("model")).segment(read_scan("scans/a.nii.gz"))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from monai.data.meta_tensor import MetaTensor

from medseg.config import Config
from medseg.io.images import AnyImage, AnyMask, as_image, as_mask
from medseg.labels.table import LabelTable
from medseg.model.cohort import Reading, Source
from medseg.model.fit import fit_model
from medseg.model.folder import load_model, save_model
from medseg.model.segment import anomaly_of, segment
from medseg.model.segmentation import Segmentation
from medseg.model.state import ModelState
from medseg.model.summary import Summary
from medseg.preprocessing.pre_transforms import ArrayTransform, PreTransforms
from medseg.spatial.geometry import Geometry


@dataclass(frozen=True, repr=False)
class Model(ModelState):
    """Everything learned, and what can be done with it."""

    @classmethod
    def of(cls, state: ModelState) -> Model:
        """The model with this state."""
        return cls(**{field.name: getattr(state, field.name) for field in fields(ModelState)})

    @staticmethod
    def fit(
        scans: Sequence[Source],
        config: Config | None = None,
        *,
        pre_transforms: Sequence[ArrayTransform] = (),
        masks: Callable[[Any], Path | None] = lambda _scan: None,
        **options: Any,
    ) -> Model:
        """Fit to scans without labels; `medseg.model.fit.fit_model` has the other options.

        Args:
            pre_transforms: own array transforms, which each scan goes through first, here and when it is segmented.
            masks: path of the mask of a scan, or None.
        """
        reading = Reading(masks, PreTransforms.of(pre_transforms))
        return Model.of(fit_model(scans, config or Config(), reading=reading, **options))

    @staticmethod
    def load(folder: Path | str, *, device: str = "auto", pre_transforms: Sequence[ArrayTransform] = ()) -> Model:
        """Read a model folder; see `medseg.model.folder.load_model`."""
        return Model.of(load_model(Path(folder), device=device, pre_transforms=pre_transforms))

    def save(self, folder: Path | str) -> None:
        """Write a model folder, whole or not at all."""
        save_model(self, Path(folder))

    def segment(self, image: AnyImage, mask: AnyMask | None = None, **options: Any) -> Segmentation:
        """Label an image on its own grid; see `medseg.model.segment.segment` for the options.

        Args:
            image: a path, a `Scan`, an image of nibabel or SimpleITK, or a (C, I, J, K) `MetaTensor`.
            mask: the same but for `Scan`: labels only inside.

        Raises:
            ConfigError: `image` or `mask` is something else.
            InputError: the image, or the mask on its grid, is refused; `code` says why.
        """
        return segment(self, *_taken(image, mask), **options)

    def anomaly(self, image: AnyImage, mask: AnyMask | None = None) -> MetaTensor:
        """(1, I, J, K) how unexpected each voxel is; takes what `segment` takes, see `anomaly_of`."""
        return anomaly_of(self, *_taken(image, mask))

    def relabelled(self, table: LabelTable, merges: dict[int, int]) -> Model:
        """The same model under another label table; `merges` (from -> into) are added to those made before.

        Raises:
            ConfigError: a merge that names a label which is not there.
        """
        return replace(self, scheme=self.scheme.relabelled(table, merges))

    def cut_to(self, n_labels: int) -> Model:
        """The same fit with another number of labels; merges are undone, names stay with labels that stay the same.

        Raises:
            ConfigError: the model has no such cut.
        """
        self.check()
        return replace(self, scheme=self.scheme.cut_to(n_labels))

    def describe(self) -> str:
        """A few lines for people."""
        return Summary.of(self).text()

    def __repr__(self) -> str:
        return self.describe()


def _taken(image: AnyImage, mask: AnyMask | None) -> tuple[MetaTensor, MetaTensor | None]:
    """The image and its mask as tensors on one grid."""
    tensor = as_image(image)
    return tensor, None if mask is None else as_mask(mask, Geometry.of(tensor))
