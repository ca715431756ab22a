"""The network: a 3D convolutional masked autoencoder whose latent is a mixture over components.

Encoder: a small multi-scale network sees the surroundings of every voxel, some voxels hidden, and gives K logits,
p(k | surroundings): a categorical latent for each voxel. Decoder: a mixture of K Gaussians of intensity,
p(x | surroundings) = sum_k p(k | surroundings) N(x; mean_k, sd_k). It is trained to give the hidden voxels a high
likelihood, so nothing can be copied (masked autoencoding: He et al., CVPR 2022; hidden voxels replaced by near
neighbours: Krull et al., "Noise2Void", CVPR 2019).

No instance or group normalisation: a latent must not depend on the window it is computed in. Strided convolutions
have kernel 4, stride 2, padding 1, so that the receptive field of a coarse cell is centred on its block of voxels.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch
from monai.data.meta_tensor import MetaTensor
from monai.networks.blocks.convolutions import Convolution
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from medseg.config import AutoencoderConfig

MIN_SD = 0.01
"""Floor of a component's standard deviation, in units of the normalised intensity range."""


class Autoencoder(nn.Module):
    """(N, C, I, J, K) intensities in [0, 1] -> logits (N, n_components, I, J, K); sizes multiples of `stride`."""

    def __init__(self, config: AutoencoderConfig, n_components: int, in_channels: int = 1) -> None:
        super().__init__()
        widths = [config.channels * 2**level for level in range(config.levels)]
        self.config = config
        self.n_components = n_components
        self.first = _convolutions(in_channels, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv3d(a, b, 4, stride=2, padding=1), _convolutions(b, b))
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.merge = nn.ModuleList(_convolution(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv3d(widths[0], n_components, 1)

    @property
    def stride(self) -> int:
        """Voxels per cell of the coarsest level."""
        return int(2 ** (self.config.levels - 1))

    @property
    def halo(self) -> int:
        """Voxels around a window that its result depends on, rounded up to whole cells."""
        reach = sum((2 + 2 + 2) * 2**level for level in range(self.config.levels))
        return -(-reach // self.stride) * self.stride

    def features(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) -> (N, channels, I, J, K): the layer below the logits."""
        levels = [self.first(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        out = levels.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            out = merge(torch.cat([up(out), levels.pop()], dim=1))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) -> (N, n_components, I, J, K) logits of p(k | surroundings)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _convolution(in_channels: int, out_channels: int) -> nn.Module:
    return Convolution(
        3, in_channels, out_channels, kernel_size=3, act=("LEAKYRELU", {"negative_slope": 0.1}), norm=None
    )


def _convolutions(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(_convolution(in_channels, out_channels), _convolution(out_channels, out_channels))


@torch.no_grad()
def embed(network: Autoencoder, image: MetaTensor, *, tile: int = 96) -> MetaTensor:
    """Logits of a whole volume, tile by tile, exact at tile borders.

    Every tile is computed with a halo of the receptive field and starts on a whole cell, so the result does not
    depend on `tile` (voxels along an axis, rounded to whole cells).

    Args:
        image: (C, I, J, K) on the working grid.

    Returns:
        (n_components, I, J, K) on the same grid.
    """
    device = next(network.parameters()).device
    voxels = image.as_tensor()
    stride, halo = network.stride, network.halo
    tile = max(stride, tile // stride * stride)
    shape = voxels.shape[1:]
    padding = [p for n in reversed(shape) for p in (0, -n % stride)]
    padded = functional.pad(voxels[None], padding, mode="replicate")
    out = torch.empty((network.n_components, *shape), dtype=torch.float32)
    for start in product(*(range(0, n, tile) for n in shape)):
        window = [(max(0, s - halo), min(p, s + tile + halo)) for s, p in zip(start, padded.shape[2:], strict=True)]
        patch = padded[(..., *(slice(a, b) for a, b in window))].to(device)
        logits = network(patch)[0].float().cpu()
        inner = tuple(slice(s - a, min(s + tile, n) - a) for s, (a, _), n in zip(start, window, shape, strict=True))
        place = tuple(slice(s, min(s + tile, n)) for s, n in zip(start, shape, strict=True))
        out[(slice(None), *place)] = logits[(slice(None), *inner)]
    return MetaTensor(out, affine=image.affine)


def save_weights(network: Autoencoder, path: Path) -> None:
    """Write the weights as safetensors."""
    save_file({name: value.contiguous().cpu() for name, value in network.state_dict().items()}, path)


def load_weights(network: Autoencoder, path: Path) -> None:
    """Read weights that `save_weights` wrote into a network of the same shape."""
    network.load_state_dict(load_file(path))
