from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import InputError, find_scans, load_config, read_scan
from medseg.preprocessing.fingerprint import ScanFingerprint, is_hounsfield, percentiles_of
from medseg.preprocessing.foreground import find_foreground, foreground_of
from medseg.preprocessing.plan import Plan
from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom
from tests.support.scans import GRIDS, shared


def plan_of(*images, config="generic", changes=()):
    prints = [ScanFingerprint.of(image, find_foreground(image)) for image in images]
    return Plan.fit(prints, load_config(config, changes))


def test_the_foreground_is_the_body():
    for name, geometry in GRIDS.items():
        image, truth = phantom(geometry, noise=5.0)
        found = find_foreground(image)[0].numpy() > 0
        overlap = 2 * (found & (truth > 0)).sum() / (found.sum() + (truth > 0).sum())
        assert overlap > 0.95, name


@pytest.mark.parametrize("series", ["FLAIR", "T1"])
def test_a_dark_brain_lies_inside_a_thin_bright_scalp(series):
    """A head in thick slices: near its top only the scalp is bright, it holds by its corners, and it has gaps."""
    scans = find_scans(shared("data/dicom/study"))
    image = read_scan(next(scan for scan in scans if series in scan.paths[0].parts[-2]))
    found = find_foreground(image)[0].numpy() > 0
    for k in range(14, 23):
        middle = np.argwhere(found[:, :, k]).mean(axis=0).astype(int)
        assert found[middle[0] - 20 : middle[0] + 20, middle[1] - 20 : middle[1] + 20, k].all()


def test_a_noisy_background_is_not_the_body():
    image, truth = phantom(GRIDS["RAS"], noise=5.0)
    noisy = image.as_tensor() + 6 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    found = find_foreground(MetaTensor(noisy, affine=image.affine))[0].numpy() > 0
    assert 2 * (found & (truth > 0)).sum() / (found.sum() + (truth > 0).sum()) > 0.9


def test_a_crop_without_background_is_all_foreground():
    noise = torch.rand((1, 30, 30, 30), generator=torch.Generator().manual_seed(0))
    assert bool(find_foreground(MetaTensor(noise, affine=torch.eye(4))).all())


@pytest.mark.parametrize("name", ["0004", "0006", "0007"])
def test_lungs_lie_inside_the_foreground(name):
    image = read_scan(shared(f"data/lung_mr_t1/{name}_image.nii.gz"))
    lungs = read_scan(shared(f"data/lung_mr_t1/{name}_truth.nii.gz")) > 0.5
    found = find_foreground(image) > 0
    assert float(found[lungs].float().mean()) > 0.995
    assert float(found.float().mean()) < 0.65


def test_a_skull_stripped_brain_is_taken_voxel_by_voxel():
    image = read_scan(shared("data/brain_t1_ibsr18/IBSR_01_T1w.nii.gz"))
    found = find_foreground(image).as_tensor() > 0
    assert float((found == (image.as_tensor() > 0)).float().mean()) > 0.999


def test_an_empty_foreground_is_refused():
    image = MetaTensor(torch.zeros(1, 5, 5, 5), affine=torch.eye(4))
    with pytest.raises(InputError, match="found no foreground"):
        foreground_of(image, None, "nonzero")


def test_a_flat_foreground_is_refused():
    image, _ = phantom(GRIDS["RAS"])
    flat = MetaTensor((image.as_tensor() > 0).float() * 5, affine=image.affine)
    with pytest.raises(InputError, match="intensities inside the foreground"):
        ScanFingerprint.of(flat, MetaTensor((image.as_tensor() > 0).float(), affine=image.affine))


def test_the_plan_follows_the_scans():
    plan = plan_of(phantom(GRIDS["PIR"], noise=5)[0], phantom(GRIDS["oblique"], noise=5)[0])
    assert plan.spacing_mm == (1.5, 1.5, 1.5)
    assert plan.modality == "MR"
    assert plan.patch_size == 40
    thick = plan_of(phantom(GRIDS["thick"], noise=5)[0])
    assert thick.spacing_mm == pytest.approx((np.cbrt(0.7 * 0.7 * 5),) * 3, abs=1e-3)


def test_the_memory_at_hand_sets_batch_and_network():
    image, _ = phantom(GRIDS["RAS"], noise=5)
    prints = [ScanFingerprint.of(image, find_foreground(image))]
    cpu, gpu = (Plan.fit(prints, load_config("generic"), memory_gb) for memory_gb in (0.0, 80.0))
    assert (cpu.batch_size, cpu.channels) == (1, 16)
    assert (gpu.batch_size, gpu.channels) == (8, 24)


def test_the_config_overrules_the_scans():
    image, _ = phantom(GRIDS["RAS"], noise=5)
    changes = ["preprocessing.spacing_mm=[3, 4, 5]", "training.patch_size=24", "training.batch_size=7"]
    plan = plan_of(image, changes=[*changes, "preprocessing.modality=CT"])
    assert (plan.spacing_mm, plan.patch_size, plan.batch_size, plan.modality) == ((3, 4, 5), 24, 7, "CT")
    assert plan.window_hu == (-1000, 1000)


def test_hounsfield_units_are_recognised():
    assert is_hounsfield(read_scan(shared("data/ct_trunk/example_ct.nii.gz")))
    assert not is_hounsfield(read_scan(shared("data/ct_trunk/example_mr_sm.nii.gz")))
    assert not is_hounsfield(phantom(GRIDS["RAS"], noise=5)[0])


@pytest.mark.parametrize("name", GRIDS)
def test_the_working_image_is_ras_and_lies_where_the_scan_lies(name):
    image, labels = phantom(GRIDS[name])
    plan = plan_of(phantom(GRIDS["RAS"], noise=5)[0])
    working, _ = plan.to_working_grid(image, plan.foreground_of(image))
    geometry = Geometry.of(working)
    assert geometry.axcodes == "RAS"
    assert geometry.spacing_mm == pytest.approx((1.5, 1.5, 1.5), rel=0.01)
    bright = working[0].numpy() > 0.9
    found = geometry.to_world(np.argwhere(bright)).mean(0)
    expected = GRIDS[name].to_world(np.argwhere(labels == 3)).mean(0)
    assert np.linalg.norm(found - expected) < 1.0


def test_ct_maps_the_window_and_mr_keeps_zero():
    voxels = torch.linspace(-2000, 2000, 1000).reshape(1, 10, 10, 10)
    affine = torch.diag(torch.tensor([1.5, 1.5, 1.5, 1], dtype=torch.float64))
    ct, whole = MetaTensor(voxels, affine=affine), MetaTensor(torch.ones_like(voxels), affine=affine)
    plan = plan_of(phantom(GRIDS["RAS"], noise=5)[0], changes=["preprocessing.modality=CT"])
    working = plan.transforms(ct, whole)(ct).as_tensor()
    assert torch.allclose(working, ((voxels + 1000) / 2000).clamp(0, 1), atol=1e-5)
    mr = plan_of(phantom(GRIDS["RAS"], noise=5)[0])
    assert mr.intensity_range(MetaTensor(voxels.abs(), affine=torch.eye(4)), whole)[0] == 0.0


def test_percentiles_are_numpys():
    values = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    assert percentiles_of(values, (1, 50, 99)) == pytest.approx(np.percentile(values.numpy(), (1, 50, 99)), abs=1e-6)


def test_coarser_grids_do_not_alias():
    """A checkerboard of single voxels becomes its mean on a grid twice as coarse, not noise."""
    i, j, k = np.meshgrid(*[np.arange(40)] * 3, indexing="ij")
    board = MetaTensor(torch.from_numpy(((i + j + k) % 2).astype(np.float32))[None], affine=torch.eye(4).double())
    whole = MetaTensor(torch.ones_like(board.as_tensor()), affine=board.affine)
    plan = plan_of(phantom(GRIDS["RAS"], noise=5)[0], changes=["preprocessing.spacing_mm=2.5"])
    inner = plan.to_working_grid(board, whole)[0][0, 4:-4, 4:-4, 4:-4]
    assert float(inner.std()) < 0.15


def test_real_directories_are_planned():
    scans = [s for s in find_scans(shared("data/mr_hippocampus")) if s.id.endswith("_image")][:5]
    plan = plan_of(*[read_scan(s) for s in scans])
    assert plan.spacing_mm == (1.0, 1.0, 1.0)
    assert plan.patch_size == 32
