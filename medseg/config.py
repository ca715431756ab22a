"""All settings, one frozen model per stage; strict YAML in, every value out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medseg.errors import ConfigError

Spacing = tuple[float, float, float]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=True)


class PreprocessingConfig(_Section):
    """From a scan to its working image.

    Attributes:
        modality: ``CT`` normalises by a Hounsfield window, ``MR`` by percentiles of each scan inside its
            foreground; ``auto`` reads it from DICOM headers, else from the intensities.
        spacing_mm: voxel size of the working grid; null plans it from the scans.
        max_spacing_mm: the planned size never exceeds this.
        min_spacing_mm: the planned size is never below this.
        window_hu: Hounsfield units that become 0 and 1 (CT).
        percentiles: intensity percentiles inside the foreground that become 0 and 1 (MR).
        foreground: ``auto`` finds the body, ``nonzero`` takes voxels that are not 0, ``all`` takes everything.
        range_of: where the percentiles are taken: inside the ``mask`` when there is one, or in the foreground of the
            whole ``scan``, so that a region that lacks its darkest part is not stretched to have one.
    """

    modality: Literal["auto", "CT", "MR"] = "auto"
    spacing_mm: Spacing | None = None
    min_spacing_mm: float = Field(0.5, gt=0)
    max_spacing_mm: float = Field(4.0, gt=0)
    window_hu: tuple[float, float] = (-1000.0, 1000.0)
    percentiles: tuple[float, float] = (0.5, 99.5)
    foreground: Literal["auto", "nonzero", "all"] = "auto"
    range_of: Literal["mask", "scan"] = "mask"

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
    """The network.

    Attributes:
        channels: feature channels at full resolution, the coarser levels have 1.5 and 2 times as many; null plans
            them from the memory at hand.
        n_components: size of the categorical latent: Gaussians of intensity that the decoder mixes.
    """

    channels: int | None = Field(None, ge=4, le=256)
    n_components: int = Field(12, ge=2, le=64)


class TrainingConfig(_Section):
    """How the network is trained.

    Attributes:
        seed: all randomness of training and clustering comes from it.
        max_steps: upper bound of optimiser steps.
        patience_checks: training ends early when the mean loss of the last `check_steps` has not improved for
            this many checks.
        patch_size: voxels along each axis of a patch; null plans it.
        batch_size: patches in a step; null plans it from the memory at hand.
        precision: ``bf16`` and ``fp16`` use autocast; ``auto`` takes bf16 where the device computes in it. Patches of
            16 voxels and less stay fp32 on a CPU.
        deterministic: same bytes on a second run on the same machine, at some cost in speed.
        ensemble: networks that are trained, from `seed`, `seed` + 1, ..., and decide together.
    """

    seed: int = Field(0, ge=0)
    max_steps: int = Field(400, ge=1)
    check_steps: int = Field(25, ge=1)
    patience_checks: int = Field(6, ge=1)
    patch_size: int | None = Field(None, ge=8, le=256)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float = Field(4e-3, gt=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    deterministic: bool = False
    ensemble: int = Field(1, ge=1, le=32)


class ClusteringConfig(_Section):
    """What a label is.

    Attributes:
        n_clusters: number of labels.
        tissues: ``scan`` finds tissues by intensity anew in each scan (one label each, ascending; brains);
            ``cohort`` clusters the whole cohort's voxels together.
        bias_mm: width of the smooth shading that is estimated with the tissues, with ``scan``; null: none.
        local_mm: width of the surroundings in which each tissue has a mean of its own, with ``scan``; null: one mean.
        n_tissues: with ``cohort``: clusters by intensity and texture; the remaining labels divide them by their
            surroundings. null: as many as labels.
        divide_range: with ``cohort``: mean intensities (0 to 1) of the tissues that surroundings divide.
        surroundings_mm: radius (standard deviation) of the surroundings whose composition divides a tissue.
        bulk_share: of a divided tissue, parts below this share of its largest part, or thinly attached to it, go to
            the next best tissue (bowel gas, airways beside lungs); 0: all stay.
        texture: weight of local texture against intensity.
        intensity_mm: smoothing of the intensity before clustering.
        texture_mm: pooling of the texture energies.
        shared_covariance: share of the covariance that all tissues have in common.
        smoothness: strength with which a voxel follows its neighbours.
        max_samples: voxels of the whole cohort that the clusters are fitted on.
    """

    n_clusters: int = Field(6, ge=2, le=32)
    tissues: Literal["scan", "cohort"] = "cohort"
    bias_mm: float | None = Field(None, gt=0)
    local_mm: float | None = Field(6.0, gt=0)
    n_tissues: int | None = Field(None, ge=2, le=32)
    divide_range: tuple[float, float] = (0.0, 1.0)
    surroundings_mm: float = Field(24.0, gt=0)
    bulk_share: float = Field(0.0, ge=0, le=1)
    texture: float = Field(0.0, ge=0)
    intensity_mm: float = Field(0.0, ge=0)
    texture_mm: float = Field(3.0, ge=0)
    shared_covariance: float = Field(0.1, ge=0, le=1)
    smoothness: float = Field(0.0, ge=0)
    max_samples: int = Field(60_000, ge=1000)

    @model_validator(mode="after")
    def _tissues_fit_labels(self) -> ClusteringConfig:
        if self.n_tissues is not None and self.n_tissues > self.n_clusters:
            raise ValueError(f"n_tissues must not exceed n_clusters, found {self.n_tissues} > {self.n_clusters}")
        if self.tissues == "scan" and self.n_clusters > 8:
            raise ValueError(f"tissues by intensity alone go up to 8 labels, found {self.n_clusters}; use cohort")
        return self


class CleanupConfig(_Section):
    """Connected components, after the labels are on the native grid.

    Attributes:
        min_volume_mm3: smaller components go to the label around them.
        max_hole_mm3: unlabelled holes inside the foreground up to this size are filled.
        keep_largest: label numbers of which only the largest component stays.
        connectivity: 6, 18 or 26 neighbours.
    """

    min_volume_mm3: float = Field(20.0, ge=0)
    max_hole_mm3: float = Field(0.0, ge=0)
    keep_largest: tuple[int, ...] = ()
    connectivity: Literal[6, 18, 26] = 6


class HabitatsConfig(_Section):
    """How often the clustering of given regions is repeated, to tell which clusters would be found again.

    Attributes:
        n_seeds: times that network and clusters are fitted anew from another seed.
        n_bootstraps: times that the clusters are fitted to cases drawn with replacement.
    """

    n_seeds: int = Field(0, ge=0)
    n_bootstraps: int = Field(0, ge=0)

    @property
    def is_asked(self) -> bool:
        """Whether habitats are what a run is for."""
        return self.n_seeds + self.n_bootstraps > 0


class ChannelsConfig(_Section):
    """Which files are the channels of one scan (T1 and FLAIR of one visit); nothing here: each file is a scan.

    Attributes:
        names: of the channels; the first one gives the grid and the foreground. Empty: one channel a scan.
        by: how the files say which channel they are. ``bids``: by their suffix (``T1w``), with the same subject,
            session and run; ``suffix``: names end in ``_T1``, and are the same before it; ``nnunet``: names end in
            ``_0000``, ``_0001``, in the order of `names`; ``series``: DICOM series of one study by their description,
            in which ``*`` stands for anything.
    """

    names: tuple[str, ...] = Field((), max_length=8)
    by: Literal["bids", "suffix", "nnunet", "series"] = "bids"

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
    """Every setting of a run; files in ``configs/`` spell all of them out."""

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


def config_names() -> list[str]:
    """Names of the configs that come with medseg."""
    return sorted(p.name[:-5] for p in resources.files("medseg.configs").iterdir() if p.name.endswith(".yaml"))


def load_config(name_or_file: str = "generic", changes: Sequence[str] = ()) -> Config:
    """Read a config that comes with medseg by its name, or any YAML file, and apply ``a.b=value`` changes.

    Raises:
        ConfigError: unknown name, unreadable file, unknown key or value out of range, each by its path.
    """
    values = _read_yaml(name_or_file)
    for change in changes:
        _apply(values, change)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _read_yaml(name_or_file: str) -> dict[str, Any]:
    shipped = resources.files("medseg.configs") / f"{name_or_file}.yaml"
    file = Path(name_or_file)
    try:
        text = shipped.read_text("utf-8") if shipped.is_file() else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"config {name_or_file!r}: found neither a config of that name nor a readable file; "
            f"take one of {', '.join(config_names())} or the path of a YAML file"
        ) from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {name_or_file!r}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"config {name_or_file!r}: found {type(values).__name__}, expected keys with values")
    return values


def _apply(values: dict[str, Any], change: str) -> None:
    """Set one ``a.b=value`` in nested `values`; the value is read as YAML."""
    key, equals, text = change.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last:
        raise ConfigError(f"--set {change}: expected section.key=value, for example clustering.n_clusters=6")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {change}: the value is not valid YAML") from None
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {change}: {section} is no section")
    values[last] = value


def _explain(error: ValidationError) -> str:
    """Every problem in one line: path, what was found, what was expected."""
    problems = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"]) or "config"
        message = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
        problems.append(f"{path}: {message}, found {item['input']!r}")
    return "config: " + "; ".join(problems)
