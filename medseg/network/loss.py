"""What training minimises: the negative log likelihood of every voxel given its surroundings."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medseg.network.autoencoder import Autoencoder, by_voxel


def loss(network: Autoencoder, patches: Tensor, inside: Tensor, _generator: torch.Generator) -> Tensor:
    """Mean negative log likelihood of the foreground voxels given their surroundings, in nats a voxel.

    Args:
        patches: (N, C, I, J, K) intensities.
        inside: (N, 1, I, J, K) of 0 and 1.
    """
    standardised = network.standardise(patches, inside)
    logits = network.logits(*network.features(torch.cat([standardised, inside], dim=1)))
    likelihood = network.log_likelihood(by_voxel(standardised))
    weights = inside.flatten() / inside.sum().clamp_min(1)
    return cast(Tensor, _MixtureSurprise.apply(logits, likelihood, weights))


class _MixtureSurprise(torch.autograd.Function):
    """-sum_v w_v log sum_k p_k(v) L_k(v) for logits of p, which may have half the digits, and log L, both (K, V).

    With q the posterior, the gradient for the logits is w (p - q), that for log L is -w q (Bishop, "Pattern Recognition
    and Machine Learning", 2006, section 5.6). Computed in single precision; half the passes over (K, V) that PyTorch's
    own gradients take.
    """

    @staticmethod
    def forward(context: Any, logits: Tensor, likelihood: Tensor, weights: Tensor) -> Tensor:  # type: ignore[override]
        prior, log_sum_prior = _softmax(logits.float())
        posterior, log_sum = _softmax(logits + likelihood)
        posterior *= weights
        prior = prior.mul_(weights).sub_(posterior)
        context.save_for_backward(prior, posterior)
        context.dtype = logits.dtype
        return ((log_sum_prior - log_sum) * weights).sum()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        difference, posterior = context.saved_tensors
        return (difference * gradient).to(context.dtype), posterior * -gradient, None


def _softmax(x: Tensor) -> tuple[Tensor, Tensor]:
    """(K, V) -> softmax over K, and the (V,) logarithm of the sum of exponentials."""
    most = x.amax(dim=0)
    found = (x - most).exp_()
    total = found.sum(dim=0)
    return found.div_(total), total.log_().add_(most)
