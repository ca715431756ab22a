"""A chest of known truth in Hounsfield units, with table, clothes and arms, and what its foreground must be."""

from __future__ import annotations

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.preprocessing.foreground import find_foreground

MM = 2.5
AIR, LUNG, FAT, SOFT, BONE, PLATE, CLOTH = -1000, -850, -100, 40, 600, 150, -500


def image_of(hu, spacing=(MM, MM, MM)):
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(hu, np.float32))[None], affine=affine)


def noisy(hu, sd=25.0, seed=0):
    return np.round(hu + sd * np.random.default_rng(seed).standard_normal(hu.shape))


def found_in(image):
    return find_foreground(image).as_tensor()[0].numpy() > 0


def ellipse(grid, centre, radii):
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


class Trunk:
    """A chest of 320 x 220 mm in a field of view of 440 x 340 mm, arms beside it, a table and clothes around it.

    Anterior is up the second axis: the plate lies 10 mm below the back.
    """

    def __init__(self, *, lung=LUNG, table=True, clothes=True, arms=False, depth=60):
        x, y, z = np.meshgrid(
            np.arange(-220, 220, MM), np.arange(-170, 170, MM), np.arange(0, depth, MM), indexing="ij"
        )
        self.body = ellipse((x, y), (0, 0), (160, 110))
        muscle, heart = ellipse((x, y), (0, 0), (145, 95)), ellipse((x, y), (10, 20), (50, 50))
        self.lung = (ellipse((x, y), (75, 5), (55, 75)) | ellipse((x, y), (-75, 5), (55, 75))) & ~heart
        vessels = (np.hypot((x + 5) % 25 - 12, (y + 5) % 25 - 12) < 3) & self.lung
        self.lung &= ~vessels
        spine = ellipse((x, y), (0, -70), (20, 18))
        self.table = (np.abs(y + 110 + 10 + 3) <= 3) & table
        outer = ellipse((x, y), (0, 6), (172, 124))
        self.clothes = outer & ~ellipse((x, y), (0, 6), (170, 122)) & (y > -118) & clothes
        hu = np.select([spine, self.lung, muscle, self.body], [BONE, lung, SOFT, FAT], AIR)
        hu[self.table], hu[self.clothes] = PLATE, CLOTH
        if arms:
            arm = ellipse((np.abs(x), y), (200, -10), (13, 70))
            joined = (np.abs(x) > 110) & (np.abs(x) < 205) & ((np.abs(y - 50) < 8) | (np.abs(y + 65) < 8)) & (z < 80)
            hu[(arm | joined) & ~self.body] = SOFT
            self.body |= arm | joined
        self.hu = noisy(hu)

    def crop(self, box):
        cut = tuple(slice(a, b) for a, b in box)
        for name in ("hu", "body", "lung", "table", "clothes"):
            setattr(self, name, getattr(self, name)[cut])
        return self


def check(trunk, found, *, lost=0.01, air=0.01):
    assert (trunk.lung & ~found).sum() <= lost * trunk.lung.sum()
    assert (trunk.body & ~found).sum() <= lost * trunk.body.sum()
    outside = ~ndimage.binary_dilation(trunk.body, iterations=2)  # 5 mm: the grid of the mask has 3 mm
    assert (found & outside).sum() <= air * outside.sum()
    for thing in (trunk.table, trunk.clothes):
        assert (found & outside & thing).sum() <= 0.02 * max((outside & thing).sum(), 1)
