"""How much brighter every voxel of a FLAIR is than its brain, and than the other side of it.

FLAIR suppresses free water, so that what holds more bound water than healthy tissue shines: oedema, tumour, plaques
(Hajnal et al., J. Comput. Assist. Tomogr. 16:841, 1992). No other sequence says by itself which way a lesion changes
it. The first part of the map is the intensity over two small windows; the second, how far it is above everything near
its mirrored place (`medseg.quality.symmetry`), which a lesion on one side is and bright healthy tissue is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data.meta_tensor import MetaTensor

from medseg.preprocessing.histogram import median_and_spread
from medseg.preprocessing.prepare import Prepared, channels_of
from medseg.quality.symmetry import beyond_mirror, find_mirror, smoothed_inside

SIGMAS_MM = (1.0, 2.0)
"""Standard deviations of the windows: a plaque fills the smaller, the larger leaves less noise in a tumour."""


def flair_of(names: Sequence[str]) -> int | None:
    """Number of the channel that is called a FLAIR; None when none is, or more than one."""
    found = [number for number, name in enumerate(names) if "flair" in name.casefold()]
    return found[0] if len(found) == 1 else None


def brightness(prepared: Prepared, channel: int) -> MetaTensor:
    """(1, I, J, K) of 0 or more, in robust standard deviations of the scan; 0 outside the foreground.

    Args:
        prepared: all channels, not cut off where they are brightest.
        channel: the FLAIR among them.
    """
    flair = prepared._replace(network_image=channels_of(prepared.network_image)[channel])
    inside = prepared.foreground.as_tensor() > 0
    total = torch.zeros(inside.shape)
    for sigma_mm in SIGMAS_MM:
        smooth = smoothed_inside(flair, sigma_mm)
        centre, spread = median_and_spread(smooth[inside].numpy())
        total += (smooth - centre) / max(spread, 1e-6) / len(SIGMAS_MM)
    above, _ = next(beyond_mirror(flair, find_mirror(prepared), SIGMAS_MM[0]))
    return MetaTensor(((total + above) * inside).clamp_min(0), affine=prepared.network_image.affine)
