"""Cut the sample scan out of the ICBM 2009a T1 template that nilearn's package holds.

    python scripts/make_sample.py nilearn-0.14.1-py3-none-any.whl demo/icbm_left_hippocampus.nii.gz

The crop is as large as the scans that the `hippocampus` model was made for. Its affine places it
where it lies in the template (MNI space, RAS+ mm).
"""

from __future__ import annotations

import gzip
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np

TEMPLATE = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
CENTRE_MM = (-26.0, -21.0, -12.0)
SHAPE = (35, 52, 40)


def crop_left_hippocampus(template: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    """A box of SHAPE voxels round CENTRE_MM, on the template's own grid."""
    centre = np.linalg.inv(template.affine) @ (*CENTRE_MM, 1.0)
    start = [round(float(middle)) - size // 2 for middle, size in zip(centre[:3], SHAPE, strict=True)]
    box = tuple(slice(first, first + size) for first, size in zip(start, SHAPE, strict=True))
    return template.slicer[box]


def main() -> None:
    wheel, out = Path(sys.argv[1]), Path(sys.argv[2])
    with zipfile.ZipFile(wheel) as archive:
        template = nibabel.Nifti1Image.from_bytes(gzip.decompress(archive.read(TEMPLATE)))
    nibabel.save(crop_left_hippocampus(template), out)


if __name__ == "__main__":
    main()
