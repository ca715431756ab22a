"""Write the sample scans: `python -m sample_data FOLDER`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom.data
import torch
from monai.data.meta_tensor import MetaTensor

from sample_data.dicom_series import write_dicom_series

CT_SERIES = "dicomdirtests/98892001/CT5N"


def mni152_brain() -> MetaTensor:
    """The MNI152 T1 brain at 1 mm that nilearn ships (ICBM 2009a nonlinear symmetric), 0 outside the brain."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    voxels = np.round(1000 * np.clip(voxels, 0, None) / voxels.max())
    return MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(image.affine.copy()))


def write_brain(folder: Path) -> None:
    """The brain as NIfTI, and the same brain as a DICOM series."""
    image = mni152_brain()
    folder.mkdir(parents=True, exist_ok=True)
    nifti = nib.Nifti1Image(image.as_tensor()[0].numpy().astype(np.int16), np.asarray(image.affine))
    nifti.set_sform(nifti.affine, 1)
    nifti.set_qform(nifti.affine, 1)
    nifti.header.set_xyzt_units("mm", "sec")
    nib.save(nifti, folder / "mni152_T1w.nii.gz")
    write_dicom_series(image, folder / "mni152_dicom", modality="MR")


def write_ct(folder: Path) -> None:
    """The real CT series of five slices that pydicom ships."""
    source = Path(pydicom.data.get_testdata_file(f"{CT_SERIES}/2062", read=False) or "").parent
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, folder / file.name)


def main() -> None:
    """Write `FOLDER/brain` and `FOLDER/ct`."""
    parser = argparse.ArgumentParser(description="Write the sample scans of medseg.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write_brain(folder / "brain")
    write_ct(folder / "ct" / "ct5n")
    print(f"sample scans: {folder}")


if __name__ == "__main__":
    main()
