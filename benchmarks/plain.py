"""The obvious design, for the ablation: a plain denoising autoencoder, then k-means on its latents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.networks.nets.autoencoder import AutoEncoder
from sklearn.cluster import KMeans
from torch import Tensor, nn

from benchmarks.scoring import Costs, Row, load, pair_of, score
from benchmarks.sets import Part
from medseg import load_config
from medseg.batch.resources import forget_peak_memory
from medseg.config import Config
from medseg.model.prepare import prepare
from medseg.model.segment import labels_on
from medseg.network.patches import PatchSampler
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.foreground import foreground_of
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.spatial.geometry import Geometry

CHANNELS = (16, 16, 16)
NOISE = 0.3


@dataclass(frozen=True)
class _Fitted:
    network: nn.Module
    kmeans: KMeans

    def scores(self, prepared: Prepared) -> MetaTensor:
        """Minus the squared distance of the latent to each centre."""
        with torch.no_grad():
            latent = self.network.encode(prepared.network_image.as_tensor()[None])[0]  # type: ignore[operator]
        centres = torch.as_tensor(self.kmeans.cluster_centers_, dtype=torch.float32)
        distances = [((latent - centre.view(-1, 1, 1, 1)) ** 2).sum(0) for centre in centres]
        return MetaTensor(-torch.stack(distances), affine=prepared.image.affine)


def run(part: Part, seed: int) -> Row:
    """Train on each fold's scans with as many steps as medseg takes, segment its others, one mapping a fold."""
    config = load_config(part.config, [f"training.seed={seed}", *part.changes])
    costs, folds, fitted_on, seen = Costs(), [], [], set()
    forget_peak_memory()
    for fit, scored in part.folds():
        with costs.timed(costs.fits):
            images = [load(case) for case in fit]
            rule = config.preprocessing.foreground
            prints = [ScanFingerprint.of(i, foreground_of(i, m, rule), "") for i, m in images]
            plan = Plan.fit(prints, config)
            prepared = [prepare(i, plan.foreground_of(i, m), plan, config.clustering) for i, m in images]
            fitted = _fit(prepared, plan, config)
        fitted_on += [case.name for case in fit]
        seen |= {case.name for case in fit} & {case.name for case in scored}
        pairs = []
        for case in scored:
            with costs.timed(costs.scans):
                image, mask = load(case)
                inside = plan.foreground_of(image, mask)
                scores = fitted.scores(prepare(image, inside, plan, config.clustering))
                labels = labels_on(Geometry.of(image), scores, inside.as_tensor()[0].numpy() > 0)
            pairs.append(pair_of(case, labels, image, mask, part))
        folds.append(pairs)
    if not part.separate_folds:
        folds = [[pair for fold in folds for pair in fold]]
    scans = score(part, folds, per_scan=False)
    setting = f"{part.config}, MONAI AutoEncoder {CHANNELS}, noise {NOISE}"
    method, n_labels = "plain autoencoder, k-means on latents", config.clustering.n_clusters
    return Row(part.name, method, setting, seed, n_labels, tuple(fitted_on), frozenset(seen), scans, costs)


def _fit(prepared: list[Prepared], plan: Plan, config: Config) -> _Fitted:
    torch.manual_seed(config.training.seed)
    strides = (1,) * len(CHANNELS)
    network = AutoEncoder(3, 1, 1, CHANNELS, strides, norm="")
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    patches = PatchSampler(prepared, plan, config.training.seed)
    for step in range(config.training.max_steps):
        batch, inside = patches.draw(step)
        noisy = batch + NOISE * torch.randn_like(batch)
        value = (((network(noisy * inside) - batch) ** 2) * inside).sum() / inside.sum().clamp_min(1)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    network.eval()
    rows = np.concatenate([_rows(network, item, 60_000 // len(prepared)) for item in prepared])
    return _Fitted(network, KMeans(config.clustering.n_clusters, n_init=5, random_state=0).fit(rows))


def _rows(network: AutoEncoder, item: Prepared, n_rows: int) -> np.ndarray:
    with torch.no_grad():
        latent: Tensor = network.encode(item.network_image.as_tensor()[None])[0]
    rows = latent[:, item.foreground.as_tensor()[0] > 0].T.numpy()
    return rows[:: max(1, len(rows) // n_rows)]
