"""What shines in a FLAIR is found, more so on one side; channels without one are refused by name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.config import AutoencoderConfig
from medseg.errors import ConfigError
from medseg.network.autoencoder import Autoencoder
from medseg.preprocessing.prepare import Prepared
from medseg.quality.anomaly import UNIT, UNIT_FLAIR, anomaly, check_channels, unit_of
from medseg.quality.bright import brightness, flair_of

SHAPE = (48, 56, 40)
NETWORK = Autoencoder(AutoencoderConfig(), 4, 2)
X, Y, Z = np.indices(SHAPE)
INSIDE = ((X - 23.5) / 20) ** 2 + ((Y - 27.5) / 25) ** 2 + ((Z - 19.5) / 17) ** 2 < 1


def ball(i: float, j: float, k: float) -> npt.NDArray[np.bool_]:
    return np.asarray((X - i) ** 2 + (Y - j) ** 2 + (Z - k) ** 2 < 3**2)


def two_channels(*bright: npt.NDArray[np.bool_], dark: npt.NDArray[np.bool_] | None = None) -> Prepared:
    """T1 and FLAIR of a symmetric head; balls shine in the FLAIR only."""
    noise = np.random.default_rng(0)
    t1, flair = (0.5 + 0.1 * np.cos(np.abs(X - 23.5) / 4) + noise.normal(0, 0.02, SHAPE) for _ in range(2))
    for place in bright:
        flair[place] = 0.9
    if dark is not None:
        flair[dark], t1[dark] = 0.0, 0.0
    affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.from_numpy((np.stack([t1, flair]) * INSIDE).astype(np.float32)), affine=affine)
    inside = MetaTensor(torch.from_numpy(INSIDE[None].astype(np.float32)), affine=affine)
    return Prepared(image, inside, image)


def test_one_side_stands_out_more_than_both_and_dark_does_not():
    alone, pair, other, dark = ball(12, 36, 20), ball(14, 20, 20), ball(33, 20, 20), ball(34, 36, 20)
    found = brightness(two_channels(alone, pair, other, dark=dark), 1).as_tensor()[0].numpy()
    usual = np.quantile(found[INSIDE], 0.95)
    assert np.median(found[pair]) > 2 * usual
    assert np.median(found[alone]) > 1.5 * np.median(found[pair])
    assert np.median(found[dark]) == 0
    assert found[~INSIDE].max() == 0


def test_the_map_of_channels_is_that_of_their_flair():
    prepared = two_channels(ball(12, 36, 20))
    expected = brightness(prepared, 1).as_tensor()
    assert torch.equal(anomaly(NETWORK, prepared, ("T1w", "sub-FLAIR")).as_tensor(), expected)


@pytest.mark.parametrize(("names", "number"), [
    ((), None), (("T1w", "FLAIR"), 1), (("flair", "T1c"), 0), (("T1w", "T2w"), None), (("FLAIR1", "FLAIR2"), None),
])  # fmt: skip
def test_the_flair_is_known_by_its_name(names, number):
    assert flair_of(names) == number
    assert unit_of(names) == (UNIT if number is None else UNIT_FLAIR)


@pytest.mark.parametrize("names", [("T1w", "T2w"), ("FLAIR1", "FLAIR2")])
def test_other_channels_are_refused(names):
    with pytest.raises(ConfigError, match=f"found channels {', '.join(names)}, expected one of them called FLAIR"):
        check_channels(names)
    with pytest.raises(ConfigError, match="leave it out"):
        anomaly(NETWORK, two_channels(), names)
