"""The scans that a model is fitted to: read, judged, brought to the working grid; an odd one costs itself only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from monai.data.meta_tensor import MetaTensor

from medseg.config import Config
from medseg.errors import InputError
from medseg.io.images import AnyImage, as_image
from medseg.io.read import read_mask
from medseg.io.scan import Scan
from medseg.model.prepare import prepare
from medseg.model.state import ModelState
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.foreground import foreground_of
from medseg.preprocessing.plan import Plan, check_modality, commonest_modality, other_modality
from medseg.preprocessing.pre_transforms import PreTransforms
from medseg.preprocessing.prepare import Prepared, channels_of, check_image
from medseg.preprocessing.whole_head import check_skull_stripped
from medseg.runtime.cache import Store
from medseg.runtime.counted import Told
from medseg.runtime.limits import is_out_of_memory
from medseg.spatial.geometry import Geometry

Source = AnyImage
MaskMaker = Callable[[Source, MetaTensor], MetaTensor | None]
"""A scan and its (C, I, J, K) image -> its (1, I, J, K) mask, or None; may raise `InputError`."""


@dataclass(frozen=True)
class Watch:
    """What a caller wants to hear of while a model is fitted; the library itself prints nothing."""

    on_scan: Callable[[int, int], None] = lambda _done, _total: None
    on_refused: Callable[[Source, InputError], None] = lambda _scan, _error: None
    on_step: Callable[[int, int, float], None] = lambda _done, _most, _loss: None
    on_stage: Callable[[str], None] = lambda _stage: None
    on_part: Told = lambda _done, _total: None
    on_fitted: Callable[[ModelState, Sequence[Prepared]], None] = lambda _model, _prepared: None


@dataclass(frozen=True)
class Reading:
    """How a scan becomes an image and its mask.

    Attributes:
        masks: path of the mask of a scan, or None; may raise `InputError` for a scan that must have one.
        own: what is done to each image first.
        made: the mask of a scan that `masks` has none of; None: as the config says.
    """

    masks: Callable[[Source], Path | None] = lambda _scan: None
    own: PreTransforms = field(default_factory=PreTransforms)
    made: MaskMaker | None = None

    def __call__(self, scan: Source) -> tuple[MetaTensor, MetaTensor | None]:
        """The (C, I, J, K) image, and the mask when there is one."""
        image = as_image(scan)
        path = self.masks(scan)
        if path is not None:
            return self.own(image), read_mask(path, Geometry.of(image))
        return self.own(image), self.made(scan, image) if self.made else None


@dataclass
class Cohort:
    """The scans that can be used, and what they say about themselves, in the same order.

    Attributes:
        refused: how many others were left out for which reason.
    """

    used: list[Source] = field(default_factory=list)
    fingerprints: list[ScanFingerprint] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, scans: Sequence[Source], config: Config, reading: Reading, watch: Watch) -> Cohort:
        """Read every scan once; those that cannot be used, or are of the rarer modality, are told to `watch`.

        Raises:
            InputError: ``no_scans``, not one can be used.
        """
        cohort = cls()
        for n_done, scan in enumerate(scans, start=1):
            with cohort._costing(scan, watch):
                image, mask = reading(scan)
                check_image(image, config.channels)
                if config.preprocessing.modality == "CT":
                    check_modality(image, "CT", is_named=True)
                foreground = foreground_of(image, mask, config.preprocessing.foreground)
                if mask is None and config.preprocessing.skull_stripped:
                    check_skull_stripped(channels_of(image)[0], foreground)
                modality = scan.modality if isinstance(scan, Scan) else ""
                cohort.fingerprints.append(ScanFingerprint.of(channels_of(image)[0], foreground, modality))
                cohort.used.append(scan)
            watch.on_scan(n_done, 2 * len(scans))
        cohort._check()
        if config.preprocessing.modality == "auto":
            cohort._keep_one_modality(watch)
        return cohort

    def prepared(self, plan: Plan, config: Config, reading: Reading, watch: Watch, store: Store) -> list[Prepared]:
        """Read the scans once more and bring them to the working grid; what does not fit on it is left out, and told.

        Raises:
            InputError: ``no_scans``, not one is left.
        """
        found, scans = [], list(enumerate(self.used))
        for number, scan in scans:
            with self._costing(scan, watch):
                image, mask = reading(scan)
                item = prepare(image, plan.foreground_of(image, mask), plan, config.clustering)
                found.append((number, kept(item, store)))
            watch.on_scan(len(scans) + number + 1, 2 * len(scans))
        self.used = [self.used[number] for number, _ in found]
        self.fingerprints = [self.fingerprints[number] for number, _ in found]
        self._check()
        return [item for _, item in found]

    def _check(self) -> None:
        if not self.used:
            counts = ", ".join(f"{code} ({n})" for code, n in self.refused.most_common())
            message = f"none of the scans can be used for training: {counts or 'there are none'}"
            raise InputError(f"{message}; `medseg inspect` says more of what it lists", code="no_scans")

    @contextmanager
    def _costing(self, scan: Source, watch: Watch) -> Iterator[None]:
        """Have what is wrong with a scan, or too large about it, cost this scan only."""
        try:
            yield
        except InputError as error:
            self._refuse(scan, error, watch)
        except (MemoryError, RuntimeError, ImportError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            message = "not enough memory to read it and bring it to the working grid; crop it, or use a larger machine"
            self._refuse(scan, InputError(message, code="out_of_memory"), watch)

    def _refuse(self, scan: Source, error: InputError, watch: Watch) -> None:
        self.refused[error.code] += 1
        watch.on_refused(scan, error)

    def _keep_one_modality(self, watch: Watch) -> None:
        """One model serves one modality, the commoner one."""
        commoner = commonest_modality(self.fingerprints)
        other = [number for number, found in enumerate(self.fingerprints) if found.modality != commoner]
        n_kept = len(self.used) - len(other)
        for number in reversed(other):
            found = self.fingerprints.pop(number).modality
            self._refuse(self.used.pop(number), other_modality(found, f"{commoner} as the {n_kept} others"), watch)


def kept(prepared: Prepared, store: Store) -> Prepared:
    """The same tensors, each kept once."""
    image, foreground = store.image(prepared.image), store.image(prepared.foreground)
    is_same = prepared.network_image is prepared.image
    return Prepared(image, foreground, image if is_same else store.image(prepared.network_image))
