"""Cleanup against a slow plain reference, its invariants, and how its work grows."""

from __future__ import annotations

from functools import partial

import cc3d
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from medseg.labels.cleanup import Connectivity, clean, fill_holes, remove_components
from tests.support.call_counts import n_calls

Labels = npt.NDArray[np.unsignedinteger]
SPACING_MM = (0.7, 1.1, 5.0)
MAPS = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7), elements=st.integers(0, 3))
CONNECTIVITIES: tuple[Connectivity, ...] = (6, 18, 26)
STRUCTURE = {6: 1, 18: 2, 26: 3}


def components_of(labels: Labels, connectivity: int) -> list[npt.NDArray[np.bool_]]:
    """Masks of all components of labels > 0, in scan order of their first voxel along k, j, i as cc3d has it."""
    structure = ndimage.generate_binary_structure(3, STRUCTURE[connectivity])
    found = []
    for number in np.unique(labels[labels > 0]):
        parts, n = ndimage.label(labels == number, structure)
        found += [parts == part for part in range(1, n + 1)]
    return found


def surfaces_of(mask: npt.NDArray[np.bool_], onto: npt.NDArray[np.integer]) -> dict[int, float]:
    """mm2 that the region `mask` shares with each value of `onto`, voxel by voxel."""
    surfaces: dict[int, float] = {}
    for voxel in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                other = voxel.copy()
                other[axis] += step
                if 0 <= other[axis] < mask.shape[axis] and not mask[tuple(other)]:
                    value = int(onto[tuple(other)])
                    surfaces[value] = surfaces.get(value, 0.0) + float(np.prod(SPACING_MM)) / SPACING_MM[axis]
    return {value: round(surface, 6) for value, surface in surfaces.items()}


def largest_surface(mask: npt.NDArray[np.bool_], onto: npt.NDArray[np.integer]) -> int:
    surfaces = {v: s for v, s in surfaces_of(mask, onto).items() if v > 0}
    return min(surfaces, key=lambda v: (-surfaces[v], v)) if surfaces else 0


def reference(
    labels: Labels, min_volume_mm3: float, max_hole_mm3: float, keep: tuple[int, ...], connectivity: int
) -> Labels:
    """The same rules in plain loops."""
    volume = float(np.prod(SPACING_MM))
    waiting, out = [], labels.astype(np.int64)
    components = components_of(labels, connectivity)
    for number in np.unique(labels[labels > 0]):
        own = [c for c in components if labels[c][0] == number]
        for component in own:
            second = number in keep and component is not max(own, key=lambda c: c.sum())
            if component.sum() < min_volume_mm3 / volume or second:
                waiting.append(component)
                out[component] = 0
    while waiting:
        found = [largest_surface(component, out) for component in waiting]
        for component, number in zip(waiting, found, strict=True):
            out[component] = number
        if not any(found):
            break
        waiting = [component for component, number in zip(waiting, found, strict=True) if number == 0]
    return without_holes(out, max_hole_mm3 / volume).astype(labels.dtype)


def without_holes(labels: npt.NDArray[np.integer], max_voxels: float) -> npt.NDArray[np.integer]:
    background, n = ndimage.label(labels == 0)
    filled = labels.copy()
    for hole in (background == part for part in range(1, n + 1)):
        padded = np.pad(hole, 1)
        at_border = any(padded.take(i, axis).any() for axis in range(3) for i in (1, -2))
        if not at_border and hole.sum() <= max_voxels:
            filled[hole] = largest_surface(hole, labels)
    return filled


def has_tied_components(labels: Labels, connectivity: int) -> bool:
    sizes: dict[int, list[int]] = {}
    for component in components_of(labels, connectivity):
        sizes.setdefault(int(labels[component][0]), []).append(int(component.sum()))
    return any(s.count(max(s)) > 1 for s in sizes.values())


@settings(max_examples=80)
@given(MAPS, st.sampled_from([6, 18, 26]), st.floats(0, 40), st.sampled_from([0.0, 4.0, 20.0, 100.0]))
def test_equals_plain_reference(labels: Labels, connectivity: int, volume: float, hole: float) -> None:
    keep = () if has_tied_components(labels, connectivity) else (1, 3)
    found = clean(
        labels, SPACING_MM, min_volume_mm3=volume, max_hole_mm3=hole, keep_largest=keep,
        connectivity=connectivity,  # type: ignore[arg-type]
    )  # fmt: skip
    np.testing.assert_array_equal(found, reference(labels, volume, hole, keep, connectivity))


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_equals_plain_reference_on_larger_speckle(connectivity: int) -> None:
    rng = np.random.default_rng(connectivity)
    labels = np.kron(rng.integers(0, 4, (4, 3, 3)), np.ones((4, 5, 4))).astype(np.uint16)
    noise = rng.random(labels.shape) < 0.25
    labels[noise] = rng.integers(0, 4, noise.sum())
    options = {"min_volume_mm3": 12 * float(np.prod(SPACING_MM)), "max_hole_mm3": 30.0}
    found = clean(labels, SPACING_MM, **options, connectivity=connectivity)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, reference(labels, **options, keep=(), connectivity=connectivity))


@settings(max_examples=80)
@given(MAPS, st.sampled_from(CONNECTIVITIES), st.floats(0, 60), st.floats(0, 100))
def test_invariants(labels: Labels, connectivity: Connectivity, volume: float, hole: float) -> None:
    cleaned = partial(clean, min_volume_mm3=volume, max_hole_mm3=hole, keep_largest=(1, 2), connectivity=connectivity)
    before = labels.copy()
    once = cleaned(labels, SPACING_MM)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(cleaned(once, SPACING_MM), once)
    assert once.dtype == labels.dtype
    assert set(np.unique(once)) <= set(np.unique(labels)) | {0}
    components = components_of(once, connectivity)
    assert all(c.sum() * np.prod(SPACING_MM) >= volume * (1 - 1e-9) for c in components)
    assert all(sum(once[c][0] == number for c in components) <= 1 for number in (1, 2))


@settings(max_examples=100)
@given(MAPS)
def test_all_holes_are_those_of_scipy(labels: Labels) -> None:
    np.testing.assert_array_equal(fill_holes(labels, SPACING_MM) > 0, ndimage.binary_fill_holes(labels > 0))


def test_surface_counts_in_mm2() -> None:
    labels = np.zeros((3, 3, 3), dtype=np.uint8)
    labels[:, 0], labels[:, 2] = 1, 1
    labels[:, 1, 0], labels[:, 1, 2] = 2, 2
    labels[0, 1, 1], labels[2, 1, 1] = 2, 2
    labels[1, 1, 1] = 3
    # Two faces towards 1 across j, four towards 2 across i and k.
    assert remove_components(labels, (1.0, 1.0, 1.0), min_volume_mm3=2)[1, 1, 1] == 2
    assert remove_components(labels, (5.0, 1.0, 5.0), min_volume_mm3=26)[1, 1, 1] == 1


def test_island_in_background_vanishes_and_threshold_is_in_mm3() -> None:
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[2:4, 2:4, 2:4] = 4
    assert not remove_components(labels, (1.0, 1.0, 2.0), min_volume_mm3=16.5).any()
    np.testing.assert_array_equal(remove_components(labels, (1.0, 1.0, 2.0), min_volume_mm3=16.0), labels)


def test_large_hole_stays() -> None:
    labels = np.ones((9, 9, 9), dtype=np.uint8)
    labels[2:5, 2:5, 2:5] = 0
    labels[7, 7, 7] = 0
    labels[0, 0, 0] = 0
    filled = fill_holes(labels, (1.0, 1.0, 1.0), max_hole_mm3=26.9)
    assert (filled == 0).sum() == 27 + 1
    assert (fill_holes(labels, (1.0, 1.0, 1.0), max_hole_mm3=27) == 0).sum() == 1


def test_second_component_goes_to_its_neighbour() -> None:
    labels = np.full((10, 5, 5), 2, dtype=np.uint16)
    labels[:4], labels[7, 2, 2] = 300, 300
    found = remove_components(labels, (1.0, 1.0, 1.0), keep_largest=(300, 77))
    assert found[7, 2, 2] == 2
    np.testing.assert_array_equal(found[:4], 300)


def test_memory_layout_does_not_matter() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (12, 13, 14)).astype(np.uint8)
    frozen = labels.copy()
    frozen.setflags(write=False)
    cleaned = partial(clean, spacing_mm=(1.0, 1.0, 1.0), min_volume_mm3=6.0, max_hole_mm3=3.0)
    expected = cleaned(labels)
    for same in (np.asfortranarray(labels), labels[::-1].copy()[::-1], np.repeat(labels, 2, axis=2)[..., ::2], frozen):
        np.testing.assert_array_equal(cleaned(same), expected)


def test_slabs_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (11, 6, 7)).astype(np.uint8)
    whole = clean(labels, SPACING_MM, min_volume_mm3=20, max_hole_mm3=20)
    for voxels in (1, 42, 100, 200):
        monkeypatch.setattr("medseg.labels.cleanup.SLAB_VOXELS", voxels)
        np.testing.assert_array_equal(clean(labels, SPACING_MM, min_volume_mm3=20, max_hole_mm3=20), whole)


def test_refusals() -> None:
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"uint8 or uint16, found .* float64"):
        clean(labels.astype(np.float64), SPACING_MM)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected an \(I, J, K\) label map"):
        fill_holes(labels[0], SPACING_MM)
    with pytest.raises(ValueError, match="three positive numbers"):
        clean(labels, (1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="at least 0 mm3, found nan"):
        clean(labels, SPACING_MM, min_volume_mm3=float("nan"))
    with pytest.raises(ValueError, match="6, 18 or 26, found 4"):
        clean(labels, SPACING_MM, connectivity=4)  # type: ignore[arg-type]


def test_speckle_is_removed_without_a_look_at_each_component() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((128, 128, 128), dtype=np.uint8)
    for number, margin in enumerate((15, 30, 45, 55), start=1):
        truth[margin:-margin, margin:-margin, margin:-margin] = number
    noise = rng.random(truth.shape, dtype=np.float32) < 0.2
    labels = truth.copy()
    labels[noise] = rng.integers(0, 5, int(noise.sum()))
    _, n_components = cc3d.connected_components(labels, connectivity=6, return_N=True)
    found = labels

    def cleaned() -> None:
        nonlocal found
        found = clean(labels, (1.0, 1.0, 1.0), min_volume_mm3=30, max_hole_mm3=100)

    assert n_calls(cleaned) < n_components / 20  # half a second for a quarter of a million
    assert (found != truth).mean() < 0.01
