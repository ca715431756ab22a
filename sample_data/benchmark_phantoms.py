"""Phantoms whose truth is exact: brains from the MNI152 tissue maps, and textures of one mean and variance."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

INTENSITIES = (60.0, 150.0, 220.0)
"""Cerebrospinal fluid, grey matter, white matter."""


def mni_phantom(folder: Path, noise: float, shading: float, seed: int) -> tuple[Path, Path]:
    """Image and truth (1 CSF, 2 GM, 3 WM) from the MNI152 grey and white matter maps at 1 mm.

    Args:
        noise: standard deviation of the Rician noise in percent of the brightest tissue.
        shading: range of the smooth multiplicative field in percent: 40 is 1 +- .2.
    """
    image_path = folder / f"mni_pn{noise:g}_rf{shading:g}_{seed}.nii.gz"
    truth_path = image_path.with_name(image_path.name.replace(".nii.gz", "_truth.nii.gz"))
    if truth_path.is_file():
        return image_path, truth_path
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    grey = load_mni152_gm_template(resolution=1)
    mask = load_mni152_brain_mask(resolution=1).get_fdata() > 0
    gm = np.clip(grey.get_fdata(dtype=np.float32), 0, 1) * mask
    wm = np.clip(load_mni152_wm_template(resolution=1).get_fdata(dtype=np.float32), 0, 1) * mask
    total = np.maximum(gm + wm, 1)
    gm, wm = gm / total, wm / total
    csf = (1 - gm - wm) * mask
    randomness = np.random.default_rng(seed)
    image = sum(share * value for share, value in zip((csf, gm, wm), INTENSITIES, strict=True))
    field = ndimage.gaussian_filter(randomness.standard_normal(mask.shape).astype(np.float32), 35)
    field = 2 * (field - field[mask].min()) / np.ptp(field[mask]) - 1
    image = image * (1 + field * shading / 200)
    sd = noise / 100 * INTENSITIES[-1]
    real, imaginary = (sd * randomness.standard_normal(mask.shape) for _ in range(2))
    image = np.sqrt((image + real) ** 2 + imaginary**2) * mask
    _save(image.astype(np.float32), grey.affine, image_path)
    _save(((1 + np.argmax(np.stack([csf, gm, wm]), axis=0)) * mask).astype(np.uint8), grey.affine, truth_path)
    return image_path, truth_path


def texture_phantom(folder: Path, seed: int, size: int = 96) -> tuple[Path, Path]:
    """Image and truth (1, 2, 3) of three regions of equal mean and variance that differ by texture only."""
    image_path, truth_path = folder / f"texture_{seed}.nii.gz", folder / f"texture_{seed}_truth.nii.gz"
    randomness = np.random.default_rng(seed)
    shape = (size, size, size)
    fields = [ndimage.gaussian_filter(randomness.standard_normal(shape), 10) for _ in range(3)]
    regions = np.argmax([f / f.std() for f in fields], axis=0)
    image = np.zeros(shape)
    for number, sigma in enumerate(((0.6, 0.6, 0.6), (2.0, 2.0, 2.0), (0.5, 0.5, 4.0))):
        texture = ndimage.gaussian_filter(randomness.standard_normal(shape), sigma)
        inside = regions == number
        image[inside] = ((texture - texture[inside].mean()) / texture[inside].std())[inside]
    _save((100 + 20 * image).astype(np.float32), np.eye(4), image_path)
    _save((regions + 1).astype(np.uint8), np.eye(4), truth_path)
    return image_path, truth_path


def _save(voxels: npt.NDArray[np.generic], affine: npt.NDArray[np.float64], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
