"""Speed never costs a label: the fast path against a plain one in double precision and one piece.

The plain path shares only the weights with `medseg.network.tiled_inference`: PyTorch's own memory layout, float64, the
whole volume at once, the mixture by `torch.distributions`. Labels of both must agree within .002 Dice, label by label.
"""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from torch.distributions import Normal
from torch.nn import functional

from medseg import Model, load_config, read_scan
from medseg.io.read import read_mask
from medseg.network.autoencoder import LEAST_SPREAD, MIN_LOG_SD, STRIDE, Autoencoder
from medseg.network.tiled_inference import Embedding, white_noise
from medseg.spatial.geometry import Geometry
from tests.support.scans import shared

LOSS_OF_DICE = 0.002


@torch.no_grad()
def plain_embed(network: Autoencoder, image: MetaTensor, foreground: MetaTensor, **_options) -> Embedding:
    """Posterior mean and standard deviation of the noise-free intensity, as the formulas have them."""
    plain = copy.deepcopy(network).double()
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()
    noise = max(white_noise(image, foreground), 0.01 * float(network.scale)) / float(network.scale)
    both = [part.as_tensor()[None].double() for part in (image, foreground)]
    shape = both[0].shape[2:]
    both = [functional.pad(x, [p for n in reversed(shape) for p in (0, -n % STRIDE)]) for x in both]
    x = plain.standardise(*both)
    log_prior = plain(torch.cat([x, both[1]], dim=1))
    spread = (plain.log_sds.clamp_min(MIN_LOG_SD).exp() ** 2 - plain.noise**2).clamp_min(LEAST_SPREAD**2)
    total = (spread + noise**2).sqrt()
    u = x.reshape(-1, 1).clamp((plain.means - 3 * total).min(), (plain.means + 3 * total).max())
    posterior = torch.softmax(log_prior + Normal(plain.means, total).log_prob(u), dim=1)
    expected = (plain.means * noise**2 + u * spread) / (spread + noise**2)
    mean = (posterior * expected).sum(1)
    within = spread * noise**2 / (spread + noise**2)
    variance = (posterior * (within + (expected - mean[:, None]) ** 2)).sum(1)
    inside = foreground.as_tensor()[0] > 0

    def volume(values: torch.Tensor, outside: float) -> MetaTensor:
        whole = values.reshape(both[0].shape[2:])[tuple(slice(0, n) for n in shape)].float()
        return MetaTensor(torch.where(inside, whole, outside)[None], affine=image.affine)

    mean = mean + (x.reshape(-1) - u[:, 0])  # beyond the components' reach nothing is known
    found = volume(plain.centre + plain.scale * mean, 0.0), volume(plain.scale * variance.sqrt(), 1.0)
    return Embedding(*found, noise=(noise * float(network.scale),))


def dice_of_paths(monkeypatch, model: Model, image: MetaTensor, mask: MetaTensor | None, tile: int) -> dict[int, float]:
    """Dice of each label between the fast path, in tiles of `tile` voxels, and the plain one."""
    from medseg.clustering import ct_cohort, mixture_cohort, mr_cohort, per_scan
    from medseg.network import tiled_inference as embedding

    with monkeypatch.context() as patch:
        patch.setitem(inspect.unwrap(embedding.embed).__kwdefaults__, "window_voxels", tile)
        fast = model.segment(image, mask).labels
    with monkeypatch.context() as patch:
        for module in (ct_cohort, mixture_cohort, mr_cohort, per_scan):
            patch.setattr(module, "embed", plain_embed)
        plain = model.segment(image, mask).labels
    numbers = [int(n) for n in np.unique(plain) if n]
    return {n: 2 * np.sum((fast == n) & (plain == n)) / (np.sum(fast == n) + np.sum(plain == n)) for n in numbers}


def test_the_phantom_has_the_labels_of_the_plain_path(monkeypatch, model, phantom_scans):
    image = read_scan(phantom_scans / "scans" / "LPS.nii.gz")
    found = dice_of_paths(monkeypatch, model, image, None, tile=48**3)
    assert len(found) >= 3
    assert min(found.values()) >= 1 - LOSS_OF_DICE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "scan", "mask"),
    [
        ("brain_t1", "brain_t1_brainweb/brainweb_T1w.nii.gz", "brain_t1_brainweb/brain_mask.nii.gz"),
        ("brain_t1", "brain_t1_ibsr18/IBSR_01_T1w.nii.gz", None),
        ("body_ct", "ct_trunk/example_ct.nii.gz", None),
        ("lung_mr", "lung_mr_t1/0004_image.nii.gz", None),
    ],
)
def test_real_scans_have_the_labels_of_the_plain_path(monkeypatch, config, scan, mask):
    path = shared(f"data/{scan}")
    image = read_scan(path)
    inside = read_mask(shared(f"data/{mask}"), Geometry.of(image)) if mask else None
    model = Model.fit(
        [image],
        load_config(config, ["training.max_steps=40"]),
        masks=lambda _: shared(f"data/{mask}") if mask else None,
    )
    found = dice_of_paths(monkeypatch, model, image, inside, tile=64**3)
    print(scan, {n: round(float(d), 5) for n, d in found.items()})
    assert min(found.values()) >= 1 - LOSS_OF_DICE
