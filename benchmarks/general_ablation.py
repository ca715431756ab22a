"""The ablations of `python -m benchmarks.general --ablation`: settings changed one piece at a time."""

from __future__ import annotations

from collections.abc import Mapping

ABLATION: Mapping[str, tuple[str, ...]] = {
    "without smoothing of posteriors": ("clustering.mrf_weight=0",),
    "without context latent and place": ("autoencoder.context_steps=0",),
    "context encoder after one step": ("autoencoder.context_steps=1",),
    "mixture of voxels": ("clustering.method=mixture",),
}
"""Name of the variant -> ``a.b=value`` on top of the config of each cohort."""
