"""evaluate on real files: pairing, grids, missing numbers, documents."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import medseg
from medseg.errors import InputRefused, NotFound, UsageError

_OBLIQUE = np.array(
    ((0.68, -0.12, 0.3, -20.0), (0.13, 1.09, -0.2, 14.0), (-0.05, 0.16, 2.97, -33.0), (0, 0, 0, 1))
)  # directions need not be orthogonal for a file to be read, but these are, nearly
_TURN, _ = np.linalg.qr(_OBLIQUE[:3, :3])
_OBLIQUE[:3, :3] = _TURN * (0.7, 1.1, 3.0)


def _save(data, path, affine=_OBLIQUE):
    image = nib.Nifti1Image(np.asarray(data, np.uint8), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)
    return path


def _pair_of_arrays(seed=0, shape=(14, 11, 9)):
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    noise /= noise.std()
    ref = np.digitize(noise, (0.3, 1.2))
    return np.digitize(np.roll(noise, 1, axis=0), (0.35, 1.2)), ref


def _scores(evaluation, case=0):
    return {label["id"]: label for label in evaluation.to_json()["cases"][case]["labels"]}


def test_scores_of_two_files_agree_with_simpleitk_on_an_oblique_anisotropic_grid(tmp_path):
    pred, ref = _pair_of_arrays()
    found = _scores(medseg.evaluate(_save(pred, tmp_path / "a.nii.gz"), _save(ref, tmp_path / "b.nii.gz")))
    images = [sitk.ReadImage(str(tmp_path / name), sitk.sitkUInt8) for name in ("b.nii.gz", "a.nii.gz")]
    overlap, statistics = sitk.LabelOverlapMeasuresImageFilter(), sitk.LabelShapeStatisticsImageFilter()
    overlap.Execute(*images)
    assert sorted(found) == [1, 2]
    for label, scores in found.items():
        assert scores["dice"] == pytest.approx(overlap.GetDiceCoefficient(label), abs=1e-12)
        volumes = []
        for image in images:
            statistics.Execute(image)
            volumes.append(statistics.GetPhysicalSize(label) / 1000)
        assert scores["reference_volume_ml"] == pytest.approx(volumes[0])
        assert scores["volume_error_ml"] == pytest.approx(volumes[1] - volumes[0])
        assert 0 < scores["surface_dice"] < 1
        assert scores["reasons"] == []


def test_hd95_and_surface_dice_of_a_file_are_those_of_the_whole_masks(tmp_path):
    from medseg.evaluation import hd95, surface_dice

    pred, ref = _pair_of_arrays(1)
    paths = _save(pred, tmp_path / "a.nii"), _save(ref, tmp_path / "b.nii")
    for label, scores in _scores(medseg.evaluate(*paths, surface_tolerance_mm=0.8)).items():
        masks = pred == label, ref == label
        assert scores["hd95_mm"] == pytest.approx(hd95(*masks, (0.7, 1.1, 3.0)), abs=1e-4)
        assert scores["surface_dice"] == pytest.approx(surface_dice(*masks, (0.7, 1.1, 3.0), 0.8), abs=1e-4)


def test_numbers_of_absent_structures_are_missing_with_a_reason(tmp_path):
    pred, ref = np.zeros((2, 6, 7, 8), int)
    pred[1:4, 2:5, 2:5] = 1
    ref[1:4, 2:5, 4:7] = 2
    labels = medseg.LabelSet.from_names({1: "invented", 2: "missed", 3: "nowhere"})
    found = _scores(
        medseg.evaluate(_save(pred, tmp_path / "a.nii"), _save(ref, tmp_path / "b.nii"), labels=labels)
    )
    volume = 27 * 0.7 * 1.1 * 3 / 1000
    for label, error in ((1, volume), (2, -volume)):
        assert (found[label]["dice"], found[label]["surface_dice"]) == (0.0, 0.0)
        assert found[label]["hd95_mm"] is None
        assert found[label]["volume_error_ml"] == pytest.approx(error, rel=1e-5)
        assert [(r["code"], r["missing"]) for r in found[label]["reasons"]] == [
            ("absent-in-one", ["hd95_mm", "mean_surface_distance_mm"]),
            *([("absent-in-one", ["volume_error_percent"])] if label == 1 else []),
        ]
    assert "absent in the reference" in found[1]["reasons"][0]["message"]
    assert "absent in the prediction" in found[2]["reasons"][0]["message"]
    assert found[2]["volume_error_percent"] == -100
    missing = ["dice", "surface_dice", "hd95_mm", "volume_error_ml", "volume_error_percent"]
    missing.append("mean_surface_distance_mm")
    assert [found[3][name] for name in missing] == [None] * 6
    assert [(r["code"], sorted(r["missing"])) for r in found[3]["reasons"]] == [
        ("absent-in-both", sorted(missing))
    ]
    assert found[3]["reference_volume_ml"] == 0.0


def test_pictures_have_dice_but_no_millimetres(tmp_path):
    from PIL import Image

    pred, ref = _pair_of_arrays(2, (40, 30, 1))
    for name, data in (("a.png", pred), ("b.png", ref)):
        Image.fromarray(data[:, :, 0].astype(np.uint8)).save(tmp_path / name)
    scores = _scores(medseg.evaluate(tmp_path / "a.png", tmp_path / "b.png"))[1]
    both = ((pred == 1) & (ref == 1)).sum()
    assert scores["dice"] == pytest.approx(2 * both / ((pred == 1).sum() + (ref == 1).sum()))
    assert [scores[n] for n in ("surface_dice", "hd95_mm", "volume_error_ml", "volume_ml")] == [None] * 4
    assert scores["volume_error_percent"] == pytest.approx(((pred == 1).sum() / (ref == 1).sum() - 1) * 100)
    assert {r["code"] for r in scores["reasons"]} == {"spacing-unknown", "no-volume"}


@pytest.mark.parametrize("change", ["shape", "origin", "mirrored"])
def test_different_grids_are_refused_and_both_files_named(tmp_path, change):
    pred, ref = _pair_of_arrays()
    affine = _OBLIQUE.copy()
    if change == "shape":
        pred = pred[:, :, :-1]
    elif change == "origin":
        affine[0, 3] += 0.05
    else:
        affine[:, 0] *= -1
    paths = _save(pred, tmp_path / "mine.nii", affine), _save(ref, tmp_path / "truth.nii")
    with pytest.raises(InputRefused, match=r"mine\.nii and truth\.nii do not stand on one grid") as refusal:
        medseg.evaluate(*paths)
    assert refusal.value.code == "grid-differs"


def test_folders_are_paired_by_stem_without_seg_and_channel_number(tmp_path):
    pred_dir, ref_dir = tmp_path / "pred", tmp_path / "ref"
    pred_dir.mkdir(), ref_dir.mkdir()
    pred, ref = _pair_of_arrays()
    _save(pred, pred_dir / "case_b_0000_seg.nii.gz")
    _save(ref, ref_dir / "case_b.nii.gz")
    _save(ref, pred_dir / "case_a_seg.nii")
    _save(ref, ref_dir / "case_a.nii.gz")
    _save(np.full_like(ref, 9), pred_dir / "case_a_0000.nii.gz")  # the scan beside its segmentation
    (pred_dir / "case_a_seg.png").write_bytes(b"the preview")
    (pred_dir / "case_a_seg.json").write_text("{}")
    (pred_dir / "._case_b.nii.gz").write_bytes(b"what macOS leaves")
    _save(ref, pred_dir / "extra_seg.nii.gz")
    _save(ref, ref_dir / "never_predicted.nii.gz")
    document = medseg.evaluate(pred_dir, ref_dir).to_json()
    assert [(c["case"], c["verdict"]) for c in document["cases"]] == [
        ("case_a", "ok"), ("case_b", "ok"), ("extra", "refused")
    ]  # fmt: skip
    assert document["cases"][0]["labels"][0]["dice"] == 1.0
    assert document["cases"][2]["reasons"][0]["code"] == "no-reference"
    assert document["without_prediction"] == ["never_predicted"]


def test_masks_beside_a_segmentation_are_compared_only_where_a_reference_bears_their_name(tmp_path):
    pred_dir, ref_dir = tmp_path / "pred", tmp_path / "ref"
    pred_dir.mkdir(), ref_dir.mkdir()
    pred, ref = _pair_of_arrays()
    _save(pred, pred_dir / "case_seg.nii.gz")
    _save(pred > 0, pred_dir / "case_seg_whole-brain.nii.gz")
    _save(pred > 1, pred_dir / "case_seg_core.nii.gz")
    _save(pred, pred_dir / "other_seg_core.nii.gz")  # nothing beside it that it could be a mask of
    _save(ref, ref_dir / "case.nii.gz")
    _save(ref > 1, ref_dir / "case_seg_core.nii.gz")
    document = medseg.evaluate(pred_dir, ref_dir).to_json()
    assert [(c["case"], c["verdict"]) for c in document["cases"]] == [
        ("case", "ok"), ("case_seg_core", "ok"), ("other_seg_core", "refused")
    ]  # fmt: skip


def test_one_bad_pair_does_not_cost_the_others_and_only_bad_pairs_raise(tmp_path):
    pred, ref = _pair_of_arrays()
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
    _save(pred, tmp_path / "pred/good.nii"), _save(ref, tmp_path / "ref/good.nii")
    _save(pred[1:], tmp_path / "pred/cut.nii"), _save(ref, tmp_path / "ref/cut.nii")
    evaluation = medseg.evaluate(tmp_path / "pred", tmp_path / "ref")
    assert [(c.case, c.verdict.codes, len(c.labels)) for c in evaluation.cases] == [
        ("cut", ("grid-differs",), 0), ("good", (), 2)
    ]  # fmt: skip
    (tmp_path / "pred/good.nii").unlink()
    with pytest.raises(InputRefused, match=r"cut\.nii and cut\.nii"):
        medseg.evaluate(tmp_path / "pred", tmp_path / "ref")


def test_summary_counts_only_cases_that_have_the_number(tmp_path):
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
    dice = []
    for n in range(3):
        pred, ref = _pair_of_arrays(n)
        if n == 2:
            pred[pred == 2] = ref[ref == 2] = 1  # label 2 is in neither
        _save(pred, tmp_path / f"pred/{n}.nii"), _save(ref, tmp_path / f"ref/{n}.nii")
        both = ((pred == 2) & (ref == 2)).sum()
        dice += [2 * both / ((pred == 2).sum() + (ref == 2).sum())] if n < 2 else []
    one, two = medseg.evaluate(tmp_path / "pred", tmp_path / "ref").to_json()["summary"]
    assert one["dice"]["n"] == 3
    assert two["dice"] == {
        "n": 2,
        "mean": pytest.approx(np.mean(dice)),
        "std": pytest.approx(np.std(dice, ddof=1)),
        "median": pytest.approx(np.median(dice)),
    }


def test_a_spread_that_one_case_does_not_have_is_missing_with_a_reason(tmp_path):
    pred, ref = _pair_of_arrays()
    row = medseg.evaluate(_save(pred, tmp_path / "a.nii"), _save(ref, tmp_path / "b.nii")).summary[0]
    assert row["dice"]["std"] is None
    assert row["dice"]["reason"]["code"] == "one-case"


def test_csv_holds_the_numbers_of_the_document_and_why_others_are_missing(tmp_path):
    pred, ref = np.zeros((2, 6, 7, 8), int)
    pred[1:4, 2:5, 2:5], ref[1:4, 2:5, 2:6] = 1, 1
    ref[5, 5, 5] = 2
    evaluation = medseg.evaluate(_save(pred, tmp_path / "x_seg.nii"), _save(ref, tmp_path / "y.nii"))
    path = evaluation.to_csv(tmp_path / "metrics.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [(r["case"], r["label_id"], r["label"]) for r in rows] == [
        ("x", "1", "label 1"),
        ("x", "2", "label 2"),
    ]
    for row, label in zip(rows, evaluation.to_json()["cases"][0]["labels"], strict=True):
        for name in ("dice", "surface_dice", "hd95_mm", "volume_error_ml", "reference_volume_ml"):
            assert row[name] == ("" if label[name] is None else repr(label[name]))
    assert rows[1]["missing"] == "hd95_mm:absent-in-one mean_surface_distance_mm:absent-in-one"
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_the_document_is_json_without_nan(tmp_path):
    pred, ref = _pair_of_arrays()
    document = medseg.evaluate(_save(pred, tmp_path / "a.nii"), _save(ref, tmp_path / "b.nii")).to_json()
    assert document["format_version"] == 1
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_names_come_from_whichever_side_has_them_and_a_conflict_is_a_warning(tmp_path):
    pred, ref = _pair_of_arrays()
    for name, data, names in (("a", pred, {1: "liver", 2: "spleen"}), ("b", ref, {2: "kidney"})):
        grid = medseg.read(_save(data, tmp_path / f"{name}0.nii")).geometry
        known = medseg.LabelSet.from_names({1: "label 1"} | names)
        medseg.write(medseg.LabelMap(data.astype(np.uint8), grid, known), tmp_path / f"{name}.nii.gz")
    case = medseg.evaluate(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz").cases[0]
    assert [label.name for label in case.labels] == ["liver", "kidney"]
    assert case.verdict.codes == ("label-names-differ",)


def test_contract_fields_that_were_not_asked_for_are_null_with_that_reason(tmp_path):
    pred, ref = _pair_of_arrays()
    paths = _save(pred, tmp_path / "a.nii"), _save(ref, tmp_path / "b.nii")
    label = _scores(medseg.evaluate(*paths, metrics=["hausdorff", "dice"]))[1]
    assert label["hausdorff_mm"] > 0
    assert [label[n] for n in ("surface_dice", "hd95_mm", "volume_error_ml")] == [None] * 3
    assert [(r["code"], r["missing"]) for r in label["reasons"]] == [
        ("not-asked", ["surface_dice", "hd95_mm", "volume_error_ml"])
    ]
    assert "mean_surface_distance_mm" not in label


def test_another_definition_is_named_in_the_document_and_changes_the_number(tmp_path):
    from medseg.evaluation import hd95

    pred, ref = _pair_of_arrays(1)
    paths = _save(pred, tmp_path / "a.nii"), _save(ref, tmp_path / "b.nii")
    found = {}
    for name in ("area", "voxels", "pooled"):
        document = medseg.evaluate(*paths, definitions={"hd95": name}).to_json()
        assert document["definitions"] == {
            "surface_dice": "area", "hd95": name, "mean_surface_distance": "area"
        }  # fmt: skip
        found[name] = document["cases"][0]["labels"][0]["hd95_mm"]
        expected = hd95(pred == 1, ref == 1, (0.7, 1.1, 3.0), definition=name)
        assert found[name] == pytest.approx(expected, abs=1e-4)
    assert len(set(found.values())) == 3


def test_progress_counts_pairs_and_an_exception_from_it_stops(tmp_path):
    pred, ref = _pair_of_arrays()
    paths = _save(pred, tmp_path / "a.nii"), _save(ref, tmp_path / "b.nii")
    calls = []
    medseg.evaluate(*paths, progress=lambda *call: calls.append(call))
    assert calls == [("evaluate", 0, 1), ("evaluate", 1, 1)]

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        medseg.evaluate(*paths, progress=stop)


def test_calls_that_cannot_mean_anything_are_usage_errors(tmp_path):
    pred, ref = _pair_of_arrays()
    file = _save(pred, tmp_path / "a.nii")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    _save(pred, tmp_path / "one/p.nii"), _save(ref, tmp_path / "two/q.nii")
    with pytest.raises(NotFound, match=r"nowhere\.nii"):
        medseg.evaluate(file, tmp_path / "nowhere.nii")
    with pytest.raises(UsageError, match="is a folder and"):
        medseg.evaluate(file, tmp_path / "one")
    with pytest.raises(UsageError, match=r"p\.nii and q\.nii"):
        medseg.evaluate(tmp_path / "one", tmp_path / "two")
    with pytest.raises(UsageError, match="expected 0 or more"):
        medseg.evaluate(file, file, surface_tolerance_mm=-1)
    with pytest.raises(UsageError, match="metric 'jaccard': there are dice, surface_dice"):
        medseg.evaluate(file, file, metrics=["dice", "jaccard"])
    with pytest.raises(UsageError, match="definition 'pooled' of hausdorff: there are area, voxels"):
        medseg.evaluate(file, file, metrics=["hausdorff"], definitions={"hausdorff": "pooled"})
    with pytest.raises(UsageError, match="not measured: add it to the metrics"):
        medseg.evaluate(file, file, metrics=["dice"], definitions={"hd95": "voxels"})
    with pytest.raises(UsageError, match="add lesions to the metrics"):
        medseg.evaluate(file, file, lesion_smallest_mm3=10)
    with pytest.raises(UsageError, match="connectivity 8: expected 6, 18 or 26"):
        medseg.evaluate(file, file, metrics=["lesions"], lesion_connectivity=8)
    with pytest.raises(UsageError, match="workers 0: expected 1 or more"):
        medseg.evaluate(file, file, workers=0)
    _save(ref, tmp_path / "one/p.nii.gz")
    with pytest.raises(UsageError, match="all belong to case 'p'"):
        medseg.evaluate(tmp_path / "one", tmp_path / "two")


def test_importing_the_room_loads_no_heavy_library():
    heavy = "{'scipy', 'pandas', 'nibabel', 'SimpleITK', 'torch', 'matplotlib'}"
    code = f"import sys, medseg.evaluation; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_real_segmentation_of_41_structures_against_itself_is_perfect(real_data):
    path = real_data / "ct" / "example_seg.nii.gz"
    document = medseg.evaluate(path, path).to_json()
    labels = document["cases"][0]["labels"]
    assert len(labels) == 41
    assert {(x["dice"], x["surface_dice"], x["hd95_mm"], x["volume_error_ml"]) for x in labels} == {
        (1, 1, 0, 0)
    }
