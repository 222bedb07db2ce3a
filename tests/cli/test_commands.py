from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import medseg
from medseg.cli.app import main


def test_inspect_names_shape_spacing_and_verdict(scan: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(scan), "--json"]) == 0

    document = json.loads(capfd.readouterr().out)
    image = nibabel.load(scan)
    (series,) = document["series"]
    assert document["verdict"] == "ok"
    assert tuple(series["shape"]) == image.shape
    np.testing.assert_allclose(series["spacing_mm"], image.header.get_zooms(), rtol=1e-6)
    np.testing.assert_allclose(series["affine"], image.affine)


def test_inspect_of_a_refused_file_exits_3_and_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(b"\x1f\x8b\x08\x00 no scan")

    assert main(["inspect", str(torn)]) == 3
    assert "refused" in capfd.readouterr().out


def test_inspect_of_nothing_exits_2(tmp_path: Path) -> None:
    assert main(["inspect", str(tmp_path / "nothing.nii.gz")]) == 2


def test_convert_keeps_voxels_and_their_places(scan: Path, tmp_path: Path) -> None:
    target = tmp_path / "scan.nrrd"

    assert main(["convert", str(scan), str(target)]) == 0

    image, original = sitk.ReadImage(str(target)), nibabel.load(scan)
    index = (3, 17, 9)
    assert image[index] == pytest.approx(float(np.asanyarray(original.dataobj)[index]))
    lps = np.array(image.TransformIndexToPhysicalPoint(index))
    np.testing.assert_allclose(lps * (-1, -1, 1), (original.affine @ (*index, 1))[:3], atol=1e-4)


def test_convert_replaces_nothing_unless_told(scan: Path, tmp_path: Path) -> None:
    target = tmp_path / "taken.nrrd"
    target.write_text("not mine")

    assert main(["convert", str(scan), str(target)]) == 2
    assert target.read_text() == "not mine"
    assert main(["convert", str(scan), str(target), "--overwrite"]) == 0


def test_evaluate_gives_dice_and_a_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    reference, predicted = np.zeros((2, 12, 9, 7), np.uint8)
    reference[2:6, 2:6, 2:5] = 3
    predicted[3:6, 2:6, 2:5] = 3
    for folder, data in (("pred/a_seg.nii.gz", predicted), ("ref/a.nii.gz", reference)):
        (tmp_path / folder).parent.mkdir()
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / folder)
    table = tmp_path / "metrics.csv"

    assert main(["evaluate", str(tmp_path / "pred"), str(tmp_path / "ref"), "-o", str(table), "--json"]) == 0

    (case,) = json.loads(capfd.readouterr().out)["cases"]
    (label,) = case["labels"]
    assert case["case"] == "a"
    assert label["dice"] == pytest.approx(2 * 36 / (36 + 48))
    assert label["volume_error_ml"] == pytest.approx((36 - 48) * 6 / 1000)
    assert len(table.read_text().splitlines()) == 2


def test_evaluate_exits_4_where_a_prediction_has_no_reference(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4))
    for name in ("pred/a.nii.gz", "pred/b.nii.gz", "ref/a.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / name)

    assert main(["evaluate", str(tmp_path / "pred"), str(tmp_path / "ref")]) == 4


def test_model_list_names_the_default(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDSEG_MODEL", str(model))

    assert main(["model", "list", "--json"]) == 0

    entries = {entry["name"]: entry for entry in json.loads(capfd.readouterr().out)["models"]}
    assert entries["threshold"]["default"] is True
    assert entries["threshold"]["labels"] == ["outer", "inner"]


def test_model_info_shows_the_card(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "info", str(model)]) == 0
    assert "# Threshold" in capfd.readouterr().out


def test_model_verify_finds_an_altered_card(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "verify", str(model)]) == 0
    altered = shutil.copytree(model, tmp_path / "altered")
    (altered / "docs" / "README.md").write_text("a better model")

    assert main(["model", "verify", str(altered), "--json"]) == 5
    out = capfd.readouterr().out
    document = json.loads(out[out.index("{") :])
    assert "docs/README.md" in document["reasons"][0]["message"]


def test_model_export_asks_for_a_form(model: Path, tmp_path: Path) -> None:
    assert main(["model", "export", str(model), "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_doctor_knows_this_machine(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0

    document = json.loads(capfd.readouterr().out)
    backends = {backend["name"]: backend for backend in document["backends"]}
    assert backends["openvino"]["available"]
    assert "f32" in document["processor"]["precisions"]
    assert document["memory"]["total_gb"] > 0.5


def test_convert_to_a_picture_that_cannot_hold_the_grid_exits_2_and_names_the_target(
    scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(scan), str(tmp_path / "flat.png")]) == 2
    assert "flat.png: a picture holds no grid" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.nii.gz"]


def test_convert_to_seg_nrrd_writes_labels(scan: Path, tmp_path: Path) -> None:
    image = nibabel.load(scan)
    ids = np.zeros(image.shape, np.int16)
    ids[2:5, 3:9, 4:8] = 300
    nibabel.save(nibabel.Nifti1Image(ids, image.affine), tmp_path / "labels.nii.gz")
    assert main(["convert", str(tmp_path / "labels.nii.gz"), str(tmp_path / "labels.seg.nrrd")]) == 0
    written = sitk.ReadImage(str(tmp_path / "labels.seg.nrrd"))
    assert written.GetPixelID() == sitk.sitkUInt16
    assert int((sitk.GetArrayFromImage(written) == 300).sum()) == 3 * 6 * 4
    assert main(["convert", str(scan), str(tmp_path / "scan.seg.nrrd")]) == 3


def test_convert_keeps_the_names_of_a_label_map_unasked(
    scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = nibabel.load(scan)
    ids = np.zeros(image.shape, np.uint8)
    ids[2:5, 3:9, 4:8] = 7
    labels = medseg.LabelSet.from_names({7: "aorta"})
    geometry = medseg.Geometry(image.shape, image.affine)
    first = medseg.write(medseg.LabelMap(ids, geometry, labels), tmp_path / "first.nii.gz")
    assert main(["convert", str(first), str(tmp_path / "second.nii.gz")]) == 0
    shown = capfd.readouterr().out
    assert "      7\n" in shown
    assert "aorta" not in shown
    assert medseg.read_labels(tmp_path / "second.nii.gz").labels.names == ("aorta",)
    assert main(["convert", str(first), str(tmp_path / "third.nii.gz"), "--names"]) == 0
    assert "7 aorta" in capfd.readouterr().out
    assert main(["convert", str(first), str(tmp_path / "fourth.nii.gz"), "--names", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["labels"] == [[{"id": 7, "name": "aorta"}]]


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["inspect", "absent.nii"], 2, "not-found"),
        (["convert", "torn.nii.gz", "out.nii.gz"], 3, "truncated"),
        (["convert", "torn.nii.gz", "out.xyz", "--series", "x"], 2, "usage-error"),
        (["convert", "", "out.nii.gz"], 2, "usage-error"),
    ],
)
def test_json_tells_of_a_refusal_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("torn.nii.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0")
    assert main([*words, "--json"]) == code
    document = json.loads(capfd.readouterr().out)
    assert [item["code"] for item in document["reasons"]] == [reason]
    assert document["exit_code"] == code


def test_a_series_that_is_not_there_is_the_callers_mistake(scan: Path, tmp_path: Path, model: Path) -> None:
    arguments = ["infer", str(scan), "-m", str(model), "-o", str(tmp_path / "out"), "--series", "7"]
    assert main(arguments) == 2
    assert not (tmp_path / "out").exists()


def test_an_option_that_does_not_fit_one_of_several_cases_refuses_that_case_alone(
    scan: Path, tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = nibabel.load(scan)
    twice = np.stack([image.get_fdata(dtype=np.float32)] * 2, axis=-1)
    nibabel.save(nibabel.Nifti1Image(twice, image.affine), tmp_path / "twice.nii.gz")
    arguments = ["infer", str(scan), str(tmp_path / "twice.nii.gz"), "-m", str(model), "--series", "2"]
    assert main([*arguments, "-o", str(tmp_path / "out"), "--json"]) == 4
    verdicts = [case["verdict"] for case in json.loads(capfd.readouterr().out)["cases"]]
    assert verdicts[0] == "refused"
    assert verdicts[1] != "refused"
    assert (tmp_path / "out" / "twice_seg.nii.gz").is_file()


@pytest.mark.parametrize(
    "option", [("--backend", "tf"), ("--threads", "0"), ("--precision", "f8"), ("--device", "gpu")]
)
def test_a_wrong_option_is_told_before_anything_is_read(
    scan: Path, model: Path, option: tuple[str, str]
) -> None:
    assert main(["infer", str(scan), "-m", str(model), *option]) == 2


def test_model_list_shows_whole_names_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["model", "list"]) == 0
    assert "hippocampus (3D): Anterior, Posterior" in capfd.readouterr().out


def test_a_wide_table_loses_nothing_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from medseg.cli.console import print_table

    monkeypatch.setenv("COLUMNS", "40")
    print_table(("a", "b"), [("x" * 50, "y" * 70)])
    assert "x" * 50 + "   " + "y" * 70 in capfd.readouterr().out
