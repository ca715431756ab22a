"""Posteriors: how probable each label is in every voxel of one scan, and how much of it there is.

Two kinds, as there are two of clusters: tissues of one scan are intervals of the denoised intensity
(`IntervalPosteriors`), clusters of the whole cohort have a posterior each (`ClusterPosteriors`). Nothing is computed
before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.clustering.mixture import Features
from medseg.preprocessing.histogram import Histogram
from medseg.preprocessing.prepare import Prepared
from medseg.spatial.extrapolate import continue_beyond
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.tissues.contrast import borders_between, scores_between
from medseg.tissues.partial_volume import fraction_table

Array = npt.NDArray[np.float64]
_LEAST_SD = 1e-3
"""Least noise of a denoised intensity, in tissue contrasts."""
_ROWS = 1 << 16
"""Voxels that are brought to a grid at a time."""


class Posteriors(Protocol):
    """What is known of every voxel of one scan, of either kind; K labels, any grid."""

    @property
    def scores(self) -> MetaTensor:
        """(K, I, J, K) on the working grid; the best one is the label."""

    @property
    def leaves(self) -> MetaTensor | None:
        """(L, I, J, K) posteriors of the leaves of the clusters' own tree; None without one."""

    def on(self, device: torch.device) -> Posteriors:
        """The same where the native grid is worked on: whatever is asked for is computed there."""

    def probabilities(self, grid: Geometry) -> Tensor:
        """(K, *grid.shape) probability that label k is the right one; sums to one."""

    def up_to(self, number: int, grid: Geometry) -> Tensor:
        """(*grid.shape) fractions of the labels 1..number together; 1 for number K."""

    def features(self) -> Features:
        """(V, F) of the V foreground voxels of the working grid: what the labels were told apart by."""


def moved(image: MetaTensor, device: torch.device) -> MetaTensor:
    """The image on another device; itself where it lies there."""
    return MetaTensor(image.as_tensor().to(device), affine=image.affine)


@dataclass(frozen=True)
class IntervalPosteriors:
    """Labels are intervals of a noisy intensity u.

    Attributes:
        intensity: (1, I, J, K) u, continued beyond the foreground.
        sd: (1, I, J, K) standard deviation of the noise left in u, the network's posterior; continued likewise.
        foreground: (1, I, J, K) of 0 and 1.
        means: (K,) pure tissues.
        histogram: of the intensities that the means were found in.
    """

    intensity: MetaTensor
    sd: MetaTensor
    foreground: MetaTensor
    means: Array
    histogram: Histogram

    @property
    def leaves(self) -> None:
        """Tissues of a scan have no tree of their own."""

    @cached_property
    def scores(self) -> MetaTensor:
        """Linear in u."""
        return scores_between(self.intensity, borders_between(self.means))

    def on(self, device: torch.device) -> IntervalPosteriors:
        """The same on another device."""
        u, sd, foreground = (moved(part, device) for part in (self.intensity, self.sd, self.foreground))
        return replace(self, intensity=u, sd=sd, foreground=foreground)

    def probabilities(self, grid: Geometry) -> Tensor:
        """P(noise-free intensity lies in interval k), with N(u, sd) for it."""
        both = resample(self._both, grid).as_tensor()
        u, sd = both[0], both[1].clamp_min(_LEAST_SD)
        borders = torch.as_tensor(borders_between(self.means), dtype=u.dtype, device=u.device)
        below = torch.special.ndtr((borders.view(-1, 1, 1, 1) - u) / sd)
        ends = torch.zeros_like(u)[None], torch.ones_like(u)[None]
        return torch.cat([below, ends[1]]) - torch.cat([ends[0], below])

    def up_to(self, number: int, grid: Geometry) -> Tensor:
        """From the table of expected fractions; on the host."""
        if number == len(self.means):
            return torch.ones(grid.shape)
        values, fractions = self._table
        u = resample(self.intensity, grid).as_tensor()[0].cpu().numpy()
        return torch.from_numpy(np.interp(u, values, fractions[:, :number].sum(axis=1)).astype(np.float32))

    def features(self) -> Features:
        """(V, 1) u."""
        return np.asarray(self.intensity.as_tensor()[self.foreground.as_tensor() > 0].cpu().numpy()[:, None])

    @cached_property
    def _both(self) -> MetaTensor:
        return MetaTensor(torch.cat([self.intensity.as_tensor(), self.sd.as_tensor()]), affine=self.intensity.affine)

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        noise = self.sd.as_tensor()[self.foreground.as_tensor() > 0].median()
        return fraction_table(self.histogram, self.means, float(noise))


@dataclass(frozen=True)
class ClusterPosteriors:
    """Labels are clusters with a posterior each.

    Attributes:
        scores: (K, I, J, K) posteriors, continued beyond the foreground.
        rows: makes the (V, F) features again.
        finer: makes the leaves; None where clusters have no tree.
    """

    scores: MetaTensor
    rows: Callable[[], Features]
    finer: Callable[[], MetaTensor] | None = None

    @cached_property
    def leaves(self) -> MetaTensor | None:
        """Of the clusters' own tree, continued likewise; the scores are their sums."""
        return self.finer() if self.finer else None

    @classmethod
    def of_cut(
        cls,
        scores: npt.NDArray[np.float16],
        leaves: Callable[[], npt.NDArray[np.float16]],
        prepared: Prepared,
        rows: Callable[[], Features],
    ) -> ClusterPosteriors:
        """From (K, I, J, K) sums of the posteriors of a tree's leaves, and what makes the (L, I, J, K) leaves.

        Both are continued a little beyond the foreground, and kept in half precision, as there are many of them.
        """

        def continued(posteriors: npt.NDArray[np.float16]) -> MetaTensor:
            found = torch.from_numpy(posteriors)
            continue_beyond(found, prepared.foreground.as_tensor()[0])
            return MetaTensor(found, affine=prepared.image.affine)

        return cls(continued(scores), rows, lambda: continued(leaves()))

    def on(self, device: torch.device) -> ClusterPosteriors:
        """The same on another device, leaves included."""
        finer = self.finer
        there = None if finer is None else (lambda: moved(finer(), device))
        return replace(self, scores=moved(self.scores, device), finer=there)

    def probabilities(self, grid: Geometry) -> Tensor:
        """The posteriors, interpolated; where there are none, the label is 1 (as for the best score)."""
        found = resample(self.scores, grid).as_tensor()
        total = found.sum(dim=0)
        found[0][total <= 0] = 1.0
        return found / total.where(total > 0, torch.ones_like(total))

    def up_to(self, number: int, grid: Geometry) -> Tensor:
        """Sums of posteriors, interpolated."""
        total = self._summed(len(self.scores), grid)
        share = self._summed(number, grid) / total.where(total > 0, torch.ones_like(total))
        return share.where(total > 0, torch.ones_like(total)).clamp(0, 1)

    def features(self) -> Features:
        """(V, F) denoised intensity, then textures."""
        return self.rows()

    def _summed(self, number: int, grid: Geometry) -> Tensor:
        """(*grid.shape) sum of the first scores."""
        total = self.scores.as_tensor()[:number].sum(dim=0, keepdim=True, dtype=torch.float32)
        return resample(MetaTensor(total, affine=self.scores.affine), grid).as_tensor()[0]


def on_grid(
    rows: npt.NDArray[np.floating],
    inside: npt.NDArray[np.bool_],
    order: Sequence[int] | npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float16]:
    """(V, L) of the foreground -> (L, I, J, K), 0 outside; `order`: which columns, one after the other."""
    columns = range(rows.shape[1]) if order is None else order
    found = np.zeros((len(columns), *inside.shape), dtype=np.float16)
    flat, places = found.reshape(len(columns), -1), np.flatnonzero(inside)
    for start in range(0, len(rows), _ROWS):  # a row lies together, and so does a volume
        here = places[start : start + _ROWS]
        part = torch.from_numpy(rows[start : start + _ROWS]).t().half().contiguous().numpy()
        for volume, number in zip(flat, columns, strict=True):
            volume[here] = part[number]
    return found
