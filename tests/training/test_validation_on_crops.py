"""Training scores whole scans as inference segments them: on the box that the plan's rule leaves."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.datasets import Case
from medseg.inference import Member, segment
from medseg.plans import CropRule, InferencePlan
from medseg.training.scans import scan_of
from medseg.training.validation import segment_case
from tests.inference.toy_networks import Toy
from tests.threshold_model import threshold_plan

AFFINE = np.diag([-1.1, 0.9, 2.5, 1.0])


@pytest.mark.parametrize("crop", [None, CropRule()])
@pytest.mark.parametrize("spacing_mm", [None, (1.3, 1.3, 1.3)])
def test_a_scans_score_is_that_of_what_inference_gives(
    tmp_path: Path, crop: CropRule | None, spacing_mm: tuple[float, float, float] | None
) -> None:
    generator = np.random.default_rng(0)
    image = generator.normal(0, 1, (48, 52, 20)).astype(np.float32)
    image[20:40, 8:32, 6:14] += generator.uniform(60, 140, (20, 24, 8))
    truth = np.zeros(image.shape, np.uint8)
    truth[22:38, 10:30, 7:13] = 7
    for name, array in (("image", image), ("truth", truth)):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / f"{name}.nii.gz")
    plan = threshold_plan(spacing_mm=spacing_mm)
    plan = plan.model_copy(update={"inference": InferencePlan(crop=crop)})
    toy = Toy("noise", 3, 1, (16, 12, 8))
    case = Case("case", (tmp_path / "image.nii.gz",), tmp_path / "truth.nii.gz")
    segmented = segment_case(case, plan, toy)
    score, predicted = segmented.score, segmented.predicted.data
    found = segment(scan_of(case, plan)[0], [Member(plan, toy)])
    assert (found.crop is None) == (crop is None)
    assert (predicted != found.ids).mean() < 1e-4  # where two classes are all but equal
    same = (truth == 7) & (predicted == 7)
    assert score.dice[7] == pytest.approx(2 * same.sum() / ((truth == 7).sum() + (predicted == 7).sum()))
