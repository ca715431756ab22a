"""How a model labels one scan: working grid, scores, and back to the native grid."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.brain.make import brain_mask
from medseg.clustering.ensemble import EnsemblePosteriors, disagreement_on
from medseg.labels.cleanup import clean
from medseg.labels.confidence import ONE, Fractions, coarse_confidence, confidence_on
from medseg.labels.description import describe
from medseg.labels.finest import leaves_on
from medseg.model.outputs import Output
from medseg.model.segmentation import LabelArray, Segmentation
from medseg.model.state import ModelState
from medseg.preprocessing.plan import check_modality
from medseg.preprocessing.prepare import channels_of, check_image
from medseg.preprocessing.whole_head import check_skull_stripped
from medseg.quality.anomaly import anomaly
from medseg.quality.metrics import measure
from medseg.spatial.chunks import filled_slabs
from medseg.spatial.extrapolate import continued
from medseg.spatial.geometry import Geometry, in_person_mm
from medseg.spatial.planes import middle_planes
from medseg.spatial.resample import resample

SLAB_VOXELS = 8_000_000
"""Scores on the native grid exist one label at a time, in slabs of about this many voxels (32 MB)."""


def segment(
    model: ModelState,
    image: MetaTensor,
    mask: MetaTensor | None = None,
    *,
    outputs: Iterable[str] = (),
    min_confidence: float = 0.0,
    finds_brain: bool = True,
) -> Segmentation:
    """Label a native (C, I, J, K) image, only inside `mask` (1, I, J, K) when given, else inside the body.

    Label scores are resampled from the working grid to the native one, where their argmax is the label, in chunks.

    Args:
        outputs: what the result holds beside the labels, by the names of `Output`: ``confidence`` (how probable each
            voxel's label is), ``fractions`` (how much of each label a voxel holds), ``finest`` (the leaf of the
            hierarchy that each voxel belongs to), ``disagreement`` (how many members of an ensemble have another
            label); others are made of the result. The labels stay the same.
        min_confidence: voxels of less confidence lose their label, after cleanup; 0: none.
        finds_brain: without a mask, have one made by the tool that the model was fitted with, if it was.

    Raises:
        ConfigError: what is asked for does not exist in this model (`check`), or the tool is not installed.
        InputError: other channels than the model's, no foreground, or nothing but one intensity in it; a whole head
            for a model of brains.
    """
    wanted = model.check(outputs)
    _check_image(model, image)
    scheme, clustering = model.scheme, model.config.clustering
    image, foreground = with_foreground(model, image, mask, finds_brain=finds_brain)
    prepared = model.prepare(image, foreground)
    inside = (foreground.as_tensor()[0] > 0).cpu().numpy()
    planes = middle_planes(prepared.image)
    del foreground  # four bytes a voxel, of a scan that may have hundreds of millions
    geometry, tree = Geometry.of(image), scheme.hierarchy if Output.FINEST in wanted or scheme.is_divided else None
    posteriors = model.clusters.posteriors(model.network, prepared).on(model.device)
    description = describe(posteriors, prepared) if tree else None
    with ThreadPoolExecutor(max_workers=1) as pool:  # measuring leaves a core idle
        measured = pool.submit(measure, model.network, prepared, posteriors)
        del prepared
        labels = _fitted_labels(model, geometry, posteriors.scores, inside)
        differ = None
        if Output.DISAGREEMENT in wanted and isinstance(posteriors, EnsemblePosteriors):
            differ = disagreement_on(geometry, posteriors, labels)
        shares = Fractions(geometry, posteriors, inside, scheme.groups) if Output.FRACTIONS in wanted else None
        del inside
        leaves = leaves_on(tree, geometry, description, labels, scheme.fitted_groups) if tree and description else None
        labels = scheme.apply(labels, leaves)
        is_judged = Output.CONFIDENCE in wanted or min_confidence > 0
        sure = confidence_on(geometry, posteriors, labels, scheme.groups) if is_judged else None
        for volume in (labels, leaves):
            if sure is not None and volume is not None:
                volume[sure < min_confidence * ONE] = 0
        coarse = coarse_confidence(geometry, posteriors, labels, scheme.groups)
    quality = measured.result()
    return Segmentation(
        labels, geometry, model.table, sure if Output.CONFIDENCE in wanted else None, shares,
        leaves if Output.FINEST in wanted else None, quality, model.quality.flags(quality, clustering.n_clusters),
        planes, coarse, disagreement=differ,
    )  # fmt: skip


def with_foreground(
    model: ModelState, image: MetaTensor, mask: MetaTensor | None, *, finds_brain: bool = True
) -> tuple[MetaTensor, MetaTensor]:
    """The (C, I, J, K) image after own transforms, and where it is worked on, (1, I, J, K) of 0 and 1.

    Raises:
        ConfigError: the tool for brain masks is not installed.
        InputError: ``no_foreground``, ``not_skull_stripped``, or there is no brain mask of this scan.
    """
    if mask is None and finds_brain:
        mask = brain_mask(image, model.config, model.device)
    image = model.own(image)
    foreground = model.plan.foreground_of(image, mask)
    if mask is None and model.config.preprocessing.skull_stripped:
        check_skull_stripped(channels_of(image)[0], foreground)
    return image, foreground


def _check_image(model: ModelState, image: MetaTensor) -> None:
    """Refuse what the model is not for: other channels, another modality unless the config names one."""
    check_image(image, model.config.channels)
    check_modality(image, model.plan.modality, is_named=model.config.preprocessing.modality != "auto")


def _fitted_labels(
    model: ModelState, geometry: Geometry, scores: MetaTensor, inside: npt.NDArray[np.bool_]
) -> LabelArray:
    """Labels of the fit on the native grid, merged unless the hierarchy is cut, and cleaned."""
    labels = labels_on(geometry, scores, inside)
    if model.scheme.cut is None:
        labels = model.scheme.merge(labels)
    enlarged = in_person_mm(model.plan.spacing_mm)[0] / model.plan.spacing_mm[0]
    spacing = np.asarray(geometry.spacing_mm) * enlarged  # cleanup's volumes are those of people
    return clean(labels, spacing.tolist(), **model.config.cleanup.model_dump())


def labels_on(geometry: Geometry, scores: MetaTensor, inside: npt.NDArray[np.bool_]) -> LabelArray:
    """Resample (K, ...) scores onto `geometry` and take the best: (I, J, K), 1..K inside, 0 outside.

    One label at a time and slab by slab, on the device of the scores: memory does not grow with K.
    """
    labels = np.zeros(geometry.shape, dtype=np.uint8 if len(scores) < 256 else np.uint16)
    score_of = [MetaTensor(channel[None], affine=scores.affine) for channel in scores.as_tensor()]
    for place, grid in filled_slabs(geometry, inside, 1, SLAB_VOXELS):
        best = resample(score_of[0], grid, slab_voxels=SLAB_VOXELS).as_tensor()[0]
        dtype = torch.uint8 if labels.dtype == np.uint8 else torch.int32
        found = torch.ones(best.shape, dtype=dtype, device=best.device)
        for number in range(1, len(score_of)):
            score = resample(score_of[number], grid, slab_voxels=SLAB_VOXELS).as_tensor()[0]
            found.masked_fill_(score > best, number + 1)
            torch.maximum(best, score, out=best)
        labels[place] = np.where(inside[place], found.cpu().numpy(), 0)
    return labels


def anomaly_of(
    model: ModelState, image: MetaTensor, mask: MetaTensor | None = None, *, finds_brain: bool = True
) -> MetaTensor:
    """(1, I, J, K) anomaly of a native image on its own grid, 0 outside the foreground; `finds_brain` as of `segment`.

    Raises:
        ConfigError: channels of which there is no map.
        InputError: there is no foreground, or nothing but one intensity in it; or one channel that is not symmetric.
    """
    image, foreground = with_foreground(model, image, mask, finds_brain=finds_brain)
    prepared = model.prepare(image, foreground)
    # What shines beyond the range of intensities is cut off for labels; here it is just what is looked for.
    beyond = model.plan.to_working_grid(image, foreground, clip=False)[0].as_tensor().clamp_min(1)
    bright = MetaTensor(prepared.network_image.as_tensor() * beyond, affine=prepared.image.affine)
    found = anomaly(model.network, prepared._replace(network_image=bright), model.config.channels.names)
    native = resample(continued(found, prepared.foreground), Geometry.of(image)).as_tensor()
    return MetaTensor(native * (foreground.as_tensor() > 0), affine=image.affine)
