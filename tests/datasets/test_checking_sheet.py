"""The sheet of findings shows slices as they were acquired, in millimetres."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from medseg.datasets.checking.findings import Finding, Place
from medseg.datasets.checking.sheet import draw_sheet
from medseg.datasets.dataset import Case, Dataset
from medseg.labels import LabelSet

LABELS = LabelSet.from_names({1: "cord"})
SHAPE, SPACING = (9, 50, 60), (5.0, 0.8, 1.2)  # thick sagittal slices of 40 x 72 mm


def drawn(folder: Path, code: str, place: Place | None, gap: slice, axis: int) -> float:
    """Width to height of the only tile, whose scan is bright all over."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (6, -4, 9), degrees=True).as_matrix() @ np.diag(SPACING)
    label = np.zeros(SHAPE, np.uint8)
    label[2:8, 20:30, 5:55] = 1
    np.moveaxis(label, axis, 0)[gap] = 0
    image = np.full(SHAPE, 200, np.float32)
    for name, data in (("image", image), ("label", label)):
        nib.save(nib.Nifti1Image(data, affine), folder / f"{name}.nii")
    case = Case("one", (folder / "image.nii",), folder / "label.nii")
    dataset = Dataset("cord", folder, "folders", ("T2",), ("MR",), LABELS, (case,))
    finding = Finding(code, "one", case.label, "looked at", 1, 1.0, place)
    sheet = draw_sheet(folder / "worst.png", dataset, [finding])
    assert sheet is not None
    pixels = np.asarray(Image.open(sheet).convert("L"))[int(1.2 * 120) :]  # below the title
    rows, columns = (np.flatnonzero((pixels > 60).sum(axis=n) > 40) for n in (1, 0))
    return float(np.ptp(columns) / np.ptp(rows))


@pytest.mark.parametrize(
    ("code", "place", "gap", "axis", "aspect"),
    [
        ("empty-labels", None, slice(None), 0, 40 / 72),
        ("tiny-islands", Place((4, 24, 30), 2), slice(0), 0, 40 / 72),
        ("slices-unlabelled", Place((4, 24, 30), 0), slice(29, 32), 2, 40 / 72),
        # Left out are sagittal slices themselves: coronal ones show them as a stripe.
        ("slices-unlabelled", Place((4, 24, 30), 1), slice(4, 5), 0, 45 / 72),
        ("sides-swapped", Place((4, 24, 30), 2), slice(0), 0, 45 / 40),  # seen from the front or from below
    ],
)
def test_a_finding_is_shown_in_the_plane_of_acquisition_where_that_shows_it(
    tmp_path, code, place, gap, axis, aspect
):
    assert drawn(tmp_path, code, place, gap, axis) == pytest.approx(aspect, rel=0.03)
