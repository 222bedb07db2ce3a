"""Several models as one: the mean that numpy computes, what they must have in common, what the papers say."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.models import ModelBundle, Scope
from medseg.pipeline import infer, infer_files, open_model
from tests.pipeline.scans import IDS, save_scan
from tests.threshold_model import OFFSETS, SLOPES, save_threshold_model, threshold_plan

OTHER_OFFSETS = np.array([1.5, -0.5, -2.0], np.float32)


def lines(data: NDArray[np.int16], offsets: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logits of a threshold model over a whole scan."""
    z = (data.astype(np.float64) - data.mean()) / data.std()
    return SLOPES[:, None, None, None] * z + offsets[:, None, None, None]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(logits - logits.max(axis=0))
    return shares / shares.sum(axis=0)


@pytest.fixture
def a(tmp_path: Path) -> ModelBundle:
    return save_threshold_model(tmp_path / "a", threshold_plan(name="a"))


def another(tmp_path: Path, patch: tuple[int, ...] = (16, 12, 8)) -> ModelBundle:
    return save_threshold_model(tmp_path / "b", threshold_plan(name="b", patch=patch), offsets=OTHER_OFFSETS)


def test_models_with_the_same_windows_give_the_mean_of_their_logits(tmp_path: Path, a: ModelBundle) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    result = infer(tmp_path / "scan.nii.gz", [a, another(tmp_path)], probabilities=True)
    mean = (lines(data, OFFSETS) + lines(data, OTHER_OFFSETS)) / 2
    np.testing.assert_array_equal(result.labels.data, IDS[mean.argmax(axis=0)])
    assert (result.labels.data != IDS[lines(data, OFFSETS).argmax(axis=0)]).any()
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities.data, softmax(mean), atol=1e-4)


def test_models_with_other_windows_give_the_mean_of_their_probabilities(
    tmp_path: Path, a: ModelBundle
) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    b = another(tmp_path, patch=(8, 16, 8))
    result = infer(tmp_path / "scan.nii.gz", [open_model(a), b], probabilities=True)
    mean = (softmax(lines(data, OFFSETS)) + softmax(lines(data, OTHER_OFFSETS))) / 2
    first, second = np.sort(mean, axis=0)[:-3:-1]
    decided = first - second > 1e-4
    assert decided.mean() > 0.99
    np.testing.assert_array_equal(result.labels.data[decided], IDS[mean.argmax(axis=0)][decided])
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities.data, mean, atol=1e-4)


def test_the_papers_name_every_member_and_the_case_is_done_once(tmp_path: Path, a: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    b = another(tmp_path)
    (case,) = infer_files([tmp_path / "scan.nii.gz"], model=[a.path, b.path]).cases
    assert case["model"] == "a+b"
    provenance = case["provenance"]
    assert provenance["model"]["name"] == "a+b"
    assert provenance["model"]["sha256"] not in (a.hash, b.hash)
    assert provenance["models"] == [{"name": m.name, "sha256": m.hash} for m in (a, b)]
    assert [m["backend"] for m in provenance["execution"]["members"]] == ["openvino", "openvino"]
    assert provenance["execution"]["backend"] == "openvino"  # what all share
    assert json.loads((tmp_path / "scan_seg.json").read_text())["provenance"] == provenance

    assert infer_files([tmp_path / "scan.nii.gz"], model=[a, b]).cases[0]["already_done"]
    for others in (a, [a], [b, a]):
        (reason,) = infer_files([tmp_path / "scan.nii.gz"], model=others).cases[0]["reasons"]
        assert reason["code"] == "output-exists"


def test_one_model_in_a_list_is_that_model(tmp_path: Path, a: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    assert infer_files([tmp_path / "scan.nii.gz"], model=[a]).cases[0]["model"] == "a"
    assert infer_files([tmp_path / "scan.nii.gz"], model=a).cases[0]["already_done"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"names": {7: "outer", 254: "inner"}},
            "labels differ: 7 outer, 255 inner against 7 outer, 254 inner",
        ),
        ({"names": {7: "outer", 255: "core"}}, "labels differ: 7 outer, 255 inner against 7 outer, 255 core"),
        ({"channels": ("t2",)}, "input channels differ: t1 against t2"),
        ({"channels": ("t1", "t2")}, "input channels differ: t1 against t1, t2"),
        ({"dimensions": 2, "patch": (16, 8)}, "dimensions differ: 3D against 2D"),
    ],
)
def test_models_that_cannot_be_averaged_are_refused_by_name(
    tmp_path: Path, a: ModelBundle, change: dict[str, object], message: str
) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    b = save_threshold_model(tmp_path / "b", threshold_plan(name="b", **change))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"models 'a' and 'b' are no ensemble, their {message}"):
        infer_files([tmp_path / "scan.nii.gz"], model=[a, b])
    assert not (tmp_path / "scan_seg.json").exists()


def test_a_model_given_twice_and_no_model_are_refused(tmp_path: Path, a: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    with pytest.raises(UsageError, match=r"models 1 and 3 of the ensemble are the same \('a'\)"):
        infer(tmp_path / "scan.nii.gz", [a, another(tmp_path), a.path])
    with pytest.raises(UsageError, match="an ensemble of no models"):
        infer(tmp_path / "scan.nii.gz", [])


def test_the_scan_must_be_in_every_members_scope(tmp_path: Path, a: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    thin = Scope(dimensions=3, description="thin", spacing_min_mm=(0.5, 0.5, 0.5), spacing_max_mm=(1, 1, 1))
    b = save_threshold_model(tmp_path / "b", threshold_plan(name="b"), thin, OTHER_OFFSETS)
    (case,) = infer_files([tmp_path / "scan.nii.gz"], model=[a, b]).cases
    assert case["verdict"] == "warning"
    (reason,) = case["reasons"]
    assert reason["code"] == "outside-scope-spacing"
    assert "'b'" in reason["message"]


def test_labels_are_on_the_inputs_grid_for_an_ensemble_too(tmp_path: Path, a: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    infer_files([tmp_path / "scan.nii.gz"], model=[a, another(tmp_path, patch=(8, 16, 8))])
    written, original = (nibabel.load(tmp_path / f"scan{end}.nii.gz") for end in ("_seg", ""))
    np.testing.assert_array_equal(written.affine, original.affine)
