"""All settings and their meanings, one frozen model per stage; `medseg configs NAME` prints them."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Spacing = tuple[float, float, float]
NO_BRAIN_MASK = "none"
"""The name of no tool for brain extraction."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, validate_default=True, use_attribute_docstrings=True
    )


class PreprocessingConfig(_Section):
    """From a scan to its working image."""

    modality: Literal["auto", "CT", "MR"] = "auto"
    """CT: Hounsfield window; MR: percentiles of each scan; auto: from DICOM headers or intensities."""
    spacing_mm: Spacing | None = None
    """Voxel size of the working grid, one number or three; null: planned from the scans."""
    min_spacing_mm: float = Field(0.5, gt=0)
    """Lower limit of the planned voxel size; scaled down for fields of view smaller than a person's."""
    max_spacing_mm: float = Field(4.0, gt=0)
    """Upper limit of the planned voxel size."""
    window_hu: tuple[float, float] = (-1000.0, 1000.0)
    """Hounsfield units that are mapped to 0 and 1 (CT)."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Intensity percentiles inside the foreground that are mapped to 0 and 1 (MR)."""
    outlier_share: float = Field(0.0, ge=0, lt=0.5)
    """Share of the foreground that may be brighter than every tissue, such as vessels or a bleeding (MR); 0: none."""
    foreground: Literal["auto", "nonzero", "all"] = "auto"
    """auto: the body is found; nonzero: voxels that are not 0; all: every voxel."""
    percentile_region: Literal["mask", "scan"] = "mask"
    """mask: percentiles inside the mask where there is one; scan: in the whole scan's foreground."""
    skull_stripped: bool = False
    """true: scans hold a brain alone or have a brain mask; a whole head without one is refused."""
    brain_mask: Literal["none", "auto", "deepbet", "hd-bet", "mri_synthstrip"] = "none"
    """Tool that makes the brain mask of a scan that is given none; auto: the first of them that is installed."""

    @model_validator(mode="before")
    @classmethod
    def _one_spacing_for_all_axes(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("spacing_mm"), (int, float)):
            values = {**values, "spacing_mm": (values["spacing_mm"],) * 3}
        return values

    @model_validator(mode="after")
    def _ranges_ascend(self) -> PreprocessingConfig:
        if self.spacing_mm is not None and min(self.spacing_mm) <= 0:
            raise ValueError(f"spacing_mm must be positive, found {self.spacing_mm}")
        for name in ("window_hu", "percentiles"):
            low, high = getattr(self, name)
            if low >= high:
                raise ValueError(f"{name} must ascend, found {low}, {high}")
        return self


class AutoencoderConfig(_Section):
    """The network."""

    channels: int | None = Field(None, ge=4, le=256)
    """Feature channels at full resolution; null: planned."""
    n_components: int = Field(12, ge=2, le=64)
    """Size of the categorical latent: Gaussians of intensity that the decoder mixes."""
    texture_steps: int = Field(200, ge=0)
    """Steps in which a third latent learns to tell textures apart (clustering.texture above 0)."""
    context_steps: int = Field(250, ge=0)
    """Steps in which a second latent learns what is around a voxel and where it lies (cohorts of CT); 0: left out."""


class TrainingConfig(_Section):
    """How the network is trained."""

    seed: int = Field(0, ge=0)
    """Seed of all random numbers."""
    max_steps: int = Field(400, ge=1)
    """Optimiser steps at most."""
    eval_interval: int = Field(25, ge=1)
    """Steps between two evaluations of the loss."""
    patience: int = Field(6, ge=1)
    """Evaluations without improvement after which training stops early."""
    patch_size: int | None = Field(None, ge=8, le=256)
    """Voxels along each axis of a patch; null: planned."""
    batch_size: int | None = Field(None, ge=1)
    """Patches in a step; null: planned for the memory at hand."""
    learning_rate: float = Field(4e-3, gt=0)
    """Highest learning rate of the schedule."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bfloat16 where the device computes in it; fp32, bf16, fp16."""
    deterministic: bool = False
    """Same bytes on a second run on the same machine, somewhat slower."""
    ensemble: int = Field(1, ge=1, le=32)
    """Number of networks, from different seeds, whose scores are averaged; their disagreement can be written."""


class ClusteringConfig(_Section):
    """What a label is."""

    n_clusters: int = Field(6, ge=2, le=32)
    """Number of labels."""
    method: Literal["per_scan", "cohort", "mixture"] = "cohort"
    """per_scan: tissues by intensity, adapted to each scan; cohort: one tree over the whole cohort;
    mixture: one Gaussian of intensity and texture a label."""
    bias_sigma_mm: float | None = Field(None, gt=0)
    """Standard deviation of the smooth shading estimated with the tissues (per_scan); null: none."""
    local_sigma_mm: float | None = Field(6.0, gt=0)
    """Standard deviation of the window in which a tissue has a mean of its own (per_scan); null: one for the scan."""
    bulk_range: tuple[float, float] = (0.0, 1.0)
    """Mean intensities (0 to 1) of the labels that `min_component_fraction` holds for (mixture)."""
    min_component_fraction: float = Field(0.0, ge=0, le=1)
    """Parts of a label below this share of its largest go to the next best (mixture); 0: none."""
    texture: float = Field(0.0, ge=0)
    """Weight of the texture latent against intensity (mixture); 0: none is learned."""
    intensity_sigma_mm: float = Field(0.0, ge=0)
    """Standard deviation of the smoothing of the intensity before clustering."""
    covariance_shrinkage: float = Field(0.1, ge=0, le=1)
    """Weight of the covariance common to all labels in the covariance of each label."""
    mrf_weight: float = Field(0.0, ge=0)
    """Strength of the smoothing of labels over neighbouring voxels; 0: none."""
    max_samples: int = Field(60_000, ge=1000)
    """Voxels of the whole cohort that the clusters are fitted on."""

    @model_validator(mode="after")
    def _method_fits_labels(self) -> ClusteringConfig:
        if self.method == "per_scan" and self.n_clusters > 8:
            raise ValueError(f"tissues by intensity alone go up to 8 labels, found {self.n_clusters}; use cohort")
        return self


class CleanupConfig(_Section):
    """Connected components, after the labels are on the native grid."""

    min_volume_mm3: float = Field(20.0, ge=0)
    """Smaller components are reassigned to the label around them."""
    max_hole_mm3: float = Field(0.0, ge=0)
    """Unlabelled holes inside the labels up to this size are filled."""
    keep_largest: tuple[int, ...] = ()
    """Label numbers of which only the largest component stays."""
    connectivity: Literal[6, 18, 26] = 6
    """6, 18 or 26 neighbours."""


class HabitatsConfig(_Section):
    """Repetitions of the clustering of given regions, which measure which clusters are reproducible."""

    n_seeds: int = Field(0, ge=0)
    """Number of further fits of network and clusters that measure which clusters are stable; 0: no habitats."""
    n_bootstraps: int = Field(0, ge=0)
    """Number of further fits of the clusters, to cases drawn with replacement."""

    @property
    def is_asked(self) -> bool:
        """Whether habitats are what a run is for."""
        return self.n_seeds + self.n_bootstraps > 0


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message='Field name "register"')  # of pydantic's metaclass, which nobody calls

    class ChannelsConfig(_Section):
        """Which files are the channels of one scan (T1 and FLAIR of one visit); without names each file is a scan."""

        names: tuple[str, ...] = Field((), max_length=8)
        """Channels of a scan, such as [T1w, FLAIR]; the first gives the grid; []: each file is a scan of its own."""
        by: Literal["bids", "suffix", "nnunet", "series"] = "bids"
        """How files say which channel they are: bids, suffix, nnunet (_0000, _0001), series; see docs/channels.md."""
        register: Literal["none", "rigid"] = "none"
        """none: the headers say where channels lie; rigid: each is registered to the first one by its content."""

        @model_validator(mode="after")
        def _several_different_names(self) -> ChannelsConfig:
            folded = [name.casefold() for name in self.names]
            if len(folded) == 1 or len(set(folded)) < len(folded) or not all(name.strip() for name in folded):
                raise ValueError(f"names must be two or more different ones, or none, found {list(self.names)}")
            return self

        @property
        def n_channels(self) -> int:
            """Of a scan."""
            return max(1, len(self.names))


class Config(_Section):
    """Every setting of a run; files in ``configs/`` hold what differs from these defaults."""

    channels: ChannelsConfig = ChannelsConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    training: TrainingConfig = TrainingConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    cleanup: CleanupConfig = CleanupConfig()
    habitats: HabitatsConfig = HabitatsConfig()

    @model_validator(mode="after")
    def _habitats_of_one_network(self) -> Config:
        if self.habitats.is_asked and self.training.ensemble > 1:
            raise ValueError("the stability of habitats is that of one network; training.ensemble must be 1")
        return self
