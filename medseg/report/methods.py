"""A paragraph for the methods section of a paper, from the facts of a run, with the references that it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.model.record import MaskFacts

REFERENCES = {
    "Cardoso 2022": "Cardoso MJ et al. MONAI: an open-source framework for deep learning in healthcare. "
    "arXiv:2211.02701, 2022.",
    "Laine 2019": "Laine S, Karras T, Lehtinen J, Aila T. High-quality self-supervised deep image denoising. "
    "NeurIPS, 2019.",
    "Wells 1996": "Wells WM et al. Adaptive segmentation of MRI data. IEEE Trans Med Imaging 15:429-442, 1996.",
    "Santago 1993": "Santago P, Gage HD. Quantification of MR brain images by mixture density and partial volume "
    "modeling. IEEE Trans Med Imaging 12:566-574, 1993.",
    "Ward 1963": "Ward JH. Hierarchical grouping to optimize an objective function. J Am Stat Assoc 58:236-244, 1963.",
    "Achanta 2012": "Achanta R et al. SLIC superpixels compared to state-of-the-art superpixel methods. "
    "IEEE Trans Pattern Anal Mach Intell 34:2274-2282, 2012.",
    "van den Oord 2018": "van den Oord A, Li Y, Vinyals O. Representation learning with contrastive predictive coding. "
    "arXiv:1807.03748, 2018.",
    "Otsu 1979": "Otsu N. A threshold selection method from gray-level histograms. "
    "IEEE Trans Syst Man Cybern 9:62-66, 1979.",
    "Fisch 2024": "Fisch L et al. deepbet: fast brain extraction of T1-weighted MRI using convolutional neural "
    "networks. Comput Biol Med 179:108845, 2024.",
    "Isensee 2019": "Isensee F et al. Automated brain extraction of multisequence MRI using artificial neural "
    "networks. Hum Brain Mapp 40:4952-4964, 2019.",
    "Hoopes 2022": "Hoopes A et al. SynthStrip: skull-stripping for any brain image. NeuroImage 260:119474, 2022.",
}  # fmt: skip
"""What a paragraph may cite, by the name that stands in it."""
_BRAIN_TOOLS = {"deepbet": "Fisch 2024", "hd-bet": "Isensee 2019", "mri_synthstrip": "Hoopes 2022"}


@dataclass(frozen=True)
class Methods:
    """The paragraph, and the references that it names, in order."""

    paragraph: str
    references: tuple[str, ...]


def methods_of(facts: Mapping[str, Any], masks: Sequence[MaskFacts]) -> Methods | None:
    """The paragraph of the run whose ``run.json`` holds `facts`; None where they are not those of a run.

    Args:
        masks: of each scan that has labels.
    """
    try:
        sentences = [
            _tool(facts, len(masks)),
            _preparation(facts, masks),
            _training(facts),
            _labels(facts),
            _return(facts),
        ]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None
    text = " ".join(sentences)
    return Methods(text, tuple(found for name, found in REFERENCES.items() if name in text))


def _tool(facts: Mapping[str, Any], n_done: int) -> str:
    packages = facts["packages"]
    n_labels = len(facts["labels"])
    scans = "1 scan was" if n_done == 1 else f"{n_done} scans were"
    return (
        f"{scans} divided into {n_labels} labels by medseg {facts['medseg']}, which learns from the scans alone, "
        f"without "
        f"reference labels (PyTorch {packages['torch'].partition('+')[0]}; MONAI {packages['monai']}, Cardoso 2022)."
    )


def _preparation(facts: Mapping[str, Any], masks: Sequence[MaskFacts]) -> str:
    plan = facts["plan"]
    spacing = " x ".join(f"{mm:.3g}" for mm in plan["spacing_mm"])
    if plan["window_hu"] is not None:
        low, high = plan["window_hu"]
        scale = f"Hounsfield units from {low:.0f} to {high:.0f} were mapped to 0 and 1"
    else:
        low, high = plan["percentiles"]
        scale = f"0 stayed 0 where no intensity was negative, and percentile {high:g} of those of the body became 1"
        if plan.get("outlier_share"):
            scale += f", at most {100 * plan['outlier_share']:g} % of it being brighter than every tissue"
    body = {
        "auto": "the body was found without training (Otsu 1979 for MR)",
        "nonzero": "voxels other than 0 were used",
        "all": "all voxels were used",
    }[plan["foreground"]]
    return f"The scans were brought to voxels of {spacing} mm; {_inside(masks, body)}; {scale}."


def _inside(masks: Sequence[MaskFacts], body: str) -> str:
    """What part of a scan was used: inside masks, and where there was none, what `body` says."""
    if not any(mask.by for mask in masks):
        return body
    told = []
    for by, n in Counter(mask.by for mask in masks).most_common():
        tool = by.partition(" ")[0]
        cited = f" ({_BRAIN_TOOLS[tool]})" if tool in _BRAIN_TOOLS else ""
        kind = {"given": "a given mask", "by hand": "a brain mask corrected by hand", "": "no mask"}
        told.append(f"{kind.get(by, f'a brain mask by {by}{cited}')} ({n} of {len(masks)} scans)")
    text = f"each scan was used inside its mask: {', '.join(told)}"
    return text if all(mask.by for mask in masks) else f"{text}; without a mask, {body}"


def _training(facts: Mapping[str, Any]) -> str:
    training, plan, chosen = facts["training"], facts["plan"], facts["config"]["training"]
    size = plan["patch_size"]
    networks = "A" if chosen["ensemble"] == 1 else f"Each of {chosen['ensemble']} networks, a"
    return (
        f"{networks} three-dimensional convolutional autoencoder with a blind spot (Laine 2019) was trained for "
        f"{training['n_steps']} steps on patches of {size} x {size} x {size} voxels "
        f"(AdamW, highest learning rate {chosen['learning_rate']:g}, seed {chosen['seed']})."
    )


def _labels(facts: Mapping[str, Any]) -> str:
    clustering, is_ct = facts["config"]["clustering"], facts["plan"]["window_hu"] is not None
    n = clustering["n_clusters"]
    if clustering["method"] == "per_scan":
        shading = "" if clustering["bias_sigma_mm"] is None else " together with a smooth shading (Wells 1996)"
        return (
            f"The {n} labels of a scan are tissues in ascending intensity, estimated in its denoised "
            f"image{shading} as a "
            "mixture of pure tissues and of voxels that hold two (Santago 1993)."
        )
    if clustering["method"] == "mixture":
        texture = " and a texture latent (van den Oord 2018)" if clustering["texture"] > 0 else ""
        return (
            f"The {n} labels are the components of one Gaussian mixture of denoised intensity{texture} over all scans."
        )
    if is_ct:
        return (
            "Tissues were told apart by the cohort's Hounsfield units; supervoxels of soft tissue (Achanta "
            "2012), known by "
            "intensity, a learned latent of their surroundings and their place, were joined over all scans by a "
            "weighted "
            f"tree (Ward 1963), which was cut to {n} labels."
        )
    return (
        "A mixture of 64 Gaussians of denoised intensity over all scans was joined to a tree by what lies around "
        "the voxels "
        f"of its components, and by Ward's criterion (Ward 1963); the tree was cut to {n} labels."
    )


def _return(facts: Mapping[str, Any]) -> str:
    least = facts["config"]["cleanup"]["min_volume_mm3"]
    small = f"; connected components below {least:g} mm3 went to the label around them" if least > 0 else ""
    return f"Label scores were interpolated to each scan's own grid, where the largest gives the label{small}."
