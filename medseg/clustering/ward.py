"""Ward's tree over weighted points (Ward, JASA 58:236, 1963): always the join that raises the sum of squares least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WardTree:
    """Nodes 0..N-1 are points, node N + i is the i-th join.

    Attributes:
        joins: (N - 1, 2) the two nodes of each join.
        gains: (N - 1,) by how much each raises the weighted sum of squares, ascending.
    """

    joins: Integers
    gains: Array

    def cut(self, n_parts: int) -> Integers:
        """(N,) part of each point, numbered from 0."""
        n_points = len(self.joins) + 1
        parent = np.arange(n_points + len(self.joins))
        for number in range(n_points - n_parts):
            parent[self.joins[number]] = n_points + number
        for node in range(len(parent) - 1, -1, -1):
            parent[node] = parent[parent[node]]
        return np.asarray(np.unique(parent[:n_points], return_inverse=True)[1], dtype=np.int64)


def ward(points: Array, weights: Array) -> WardTree:
    """The tree of (N, F) points with (N,) weights; N^2 numbers of memory."""
    n_points = len(points)
    centres, mass = points.astype(np.float64).copy(), weights.astype(np.float64).copy()
    cost = _costs(centres, mass)
    nearest, least = cost.argmin(axis=1), cost.min(axis=1)
    node, alive = np.arange(n_points), np.ones(n_points, dtype=bool)
    joins, gains = np.zeros((n_points - 1, 2), dtype=np.int64), np.zeros(n_points - 1)
    for number in range(n_points - 1):
        a = int(least.argmin())
        b = int(nearest[a])
        joins[number], gains[number] = (node[a], node[b]), least[a]
        centres[a] = (mass[a] * centres[a] + mass[b] * centres[b]) / (mass[a] + mass[b])
        mass[a] += mass[b]
        node[a], alive[b], least[b] = n_points + number, False, np.inf
        cost[b], cost[:, b] = np.inf, np.inf
        row = ((centres - centres[a]) ** 2).sum(axis=1) * mass * mass[a] / (mass + mass[a])
        row[~alive] = np.inf
        row[a] = np.inf
        cost[a], cost[:, a] = row, row
        nearest[a], least[a] = row.argmin(), row.min()
        closer = alive & (row < least)
        nearest[closer], least[closer] = a, row[closer]
        for other in np.flatnonzero(alive & ((nearest == b) | (nearest == a)) & ~closer):
            if other != a:
                nearest[other] = cost[other].argmin()
                least[other] = cost[other, nearest[other]]
    return WardTree(joins, np.maximum.accumulate(gains))


def _costs(centres: Array, mass: Array) -> Array:
    """(N, N) by how much each join would raise the sum of squares."""
    square = (centres**2).sum(axis=1)
    distance = np.maximum(square[:, None] + square[None] - 2 * centres @ centres.T, 0)
    cost = distance * (mass[:, None] * mass[None] / (mass[:, None] + mass[None]))
    np.fill_diagonal(cost, np.inf)
    return np.asarray(cost)
