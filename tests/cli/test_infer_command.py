from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import zarr

from medseg.cli.app import main
from medseg.plans import Plan
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan

IDS = np.array([0, 7, 255])


def test_segmentation_lies_beside_the_scan_on_its_grid(scan: Path, model: Path) -> None:
    assert main(["infer", str(scan), "-m", str(model)]) == 0

    written = nibabel.load(scan.with_name("scan_seg.nii.gz"))
    original = nibabel.load(scan)
    np.testing.assert_array_equal(written.affine, original.affine)
    expected = IDS[expected_classes(original.get_fdata())]
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), expected)


def test_json_is_one_document_on_stdout_and_nothing_else(
    scan: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(scan), "-m", str(model), "--json"]) == 0

    (case,) = json.loads(capfd.readouterr().out)["cases"]
    voxel_ml = abs(np.linalg.det(nibabel.load(scan).affine)) / 1000
    expected = IDS[expected_classes(nibabel.load(scan).get_fdata())]
    assert [(label["id"], label["name"]) for label in case["labels"]] == [(7, "outer"), (255, "inner")]
    for label in case["labels"]:
        assert label["volume_ml"] == pytest.approx((expected == label["id"]).sum() * voxel_ml, abs=1e-5)
    assert Path(case["segmentation"]).is_file()
    assert json.loads(scan.with_name("scan_seg.json").read_text())["labels"] == case["labels"]


def test_people_read_the_paths_and_the_volume(
    scan: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(scan), "-m", str(model)]) == 0

    out = capfd.readouterr().out
    assert str(scan.with_name("scan_seg.nii.gz")) in out
    assert "mL" in out


def test_exit_code_3_where_every_scan_is_refused(
    tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(b"\x1f\x8b\x08\x00 no scan")

    assert main(["infer", str(torn), "-m", str(model), "--json"]) == 3

    (case,) = json.loads(capfd.readouterr().out)["cases"]
    assert case["verdict"] == "refused"
    assert case["segmentation"] is None
    assert case["reasons"]


def test_exit_code_4_where_some_are_refused_and_the_others_written(
    scan: Path, tmp_path: Path, model: Path
) -> None:
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(b"\x1f\x8b\x08\x00 no scan")

    assert main(["infer", str(torn), str(scan), "-m", str(model), "-o", str(tmp_path / "out")]) == 4

    assert (tmp_path / "out" / "scan_seg.nii.gz").is_file()
    assert not (tmp_path / "out" / "torn_seg.nii.gz").exists()


def test_exit_code_5_where_the_model_was_altered(scan: Path, model: Path, tmp_path: Path) -> None:
    altered = shutil.copytree(model, tmp_path / "altered")
    onnx = altered / "models" / "model.onnx"
    onnx.write_bytes(onnx.read_bytes() + b"\0")

    assert main(["infer", str(scan), "-m", str(altered)]) == 5
    assert not scan.with_name("scan_seg.nii.gz").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["infer"],
        ["infer", "nowhere.nii.gz", "-m", "{model}"],
        ["infer", "{scan}", "-m", "no-such-model"],
        ["infer", "{scan}", "-m", "{model}", "-m", "{model}"],
        ["infer", "{scan}", "-m", "{model}", "--overlap", "1"],
        ["infer", "{scan}", "-m", "{model}", "--allow", "anything"],
        ["infer", "{scan}", "-m", "{model}", "--backend", "abacus"],
        ["infer", "{scan}", "-m", "{model}", "--format", "jpeg"],
        ["infer", "{scan}", "-m", "{model}", "--sums", "f64"],
        ["infer", "{scan}", "-m", "{model}", "--scratch", "no-such-folder"],
        ["infer", "{scan}", "-m", "{model}", "--max-memory", "plenty"],
        ["infer", "{scan}", "-m", "{model}", "--masks"],
        ["infer", "{scan}", "--no-such-option"],
        ["no-such-command"],
    ],
)
def test_exit_code_2_and_one_line_for_a_wrong_call(
    arguments: list[str], scan: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filled = [text.format(scan=scan, model=model) for text in arguments]

    assert main(filled) == 2

    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("medseg: error: ")
    assert captured.err.count("\n") == 1


def test_allow_takes_commas_and_repeats(scan: Path, model: Path) -> None:
    arguments = ["--allow", "tilt,shear", "--allow", "missing-slices"]
    assert main(["infer", str(scan), "-m", str(model), *arguments]) == 0

    options = json.loads(scan.with_name("scan_seg.json").read_text())["provenance"]["options"]
    assert options["allow"] == ["missing-slices", "shear", "tilt"]


def test_second_call_computes_nothing_and_other_options_are_refused(scan: Path, model: Path) -> None:
    call = ["infer", str(scan), "-m", str(model)]
    assert main(call) == 0
    written = scan.with_name("scan_seg.nii.gz")
    first = written.stat().st_mtime_ns

    assert main(call) == 0
    assert written.stat().st_mtime_ns == first
    assert main([*call, "--overlap", "0.25"]) == 3
    assert main([*call, "--overlap", "0.25", "--overwrite"]) == 0
    assert written.stat().st_mtime_ns > first


def test_people_read_windows_network_and_memory(
    scan: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    another = scan.with_name("another.nii.gz")
    shutil.copy(scan, another)
    assert main(["infer", str(scan), str(another), "-m", str(model), "--device", "cpu", "--sums", "f16"]) == 0

    lines = [line.strip() for line in capfd.readouterr().out.splitlines()]
    assert [line.split() for line in lines if line.startswith("windows")] == [["windows", "18"]] * 2
    # Once for all scans that it is the same for.
    assert lines.count("network       openvino on the CPU, float32: CPU asked for") == 1
    memory = [line for line in lines if line.startswith("memory")]
    assert len(memory) == 2
    for line in memory:
        assert re.fullmatch(
            r"memory +\d+\.\d\d GB predicted, \d+\.\d\d GB measured; sums in memory in float16", line
        )
    assert main(["infer", str(scan), "-m", str(model), "--device", "cpu", "--sums", "f16"]) == 0
    again = capfd.readouterr().out
    assert "(done before)" in again
    assert "openvino on the CPU" in again


def test_m_repeated_is_an_ensemble(scan: Path, model: Path, tmp_path: Path) -> None:
    other = save_threshold_model(tmp_path / "other", threshold_plan(name="other", patch=(8, 8, 8))).path
    assert main(["infer", str(scan), "-m", str(model), "-m", str(other)]) == 0

    case = json.loads(scan.with_name("scan_seg.json").read_text())
    assert case["model"] == "threshold+other"
    written = np.asanyarray(nibabel.load(scan.with_name("scan_seg.nii.gz")).dataobj)
    np.testing.assert_array_equal(written, IDS[expected_classes(nibabel.load(scan).get_fdata())])


def test_maps_are_arrays_beside_the_segmentation(scan: Path, model: Path) -> None:
    arguments = ["--probabilities", "--entropy", "--no-skip-empty", "--max-memory", "60GB"]
    assert main(["infer", str(scan), "-m", str(model), *arguments]) == 0

    case = json.loads(scan.with_name("scan_seg.json").read_text())
    shares = np.asarray(zarr.open_array(case["probabilities"], mode="r"))
    assert shares.shape == (3, 18, 21, 13)
    np.testing.assert_array_equal(shares.argmax(axis=0), expected_classes(nibabel.load(scan).get_fdata()))
    assert zarr.open_array(case["entropy"], mode="r").shape == (18, 21, 13)
    assert case["provenance"]["options"]["skip_empty"] is False


def test_too_little_memory_fails_the_case_and_says_what_would_do(
    scan: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(scan), "-m", str(model), "--max-memory", "1MB"]) == 4
    out = capfd.readouterr().out
    assert "out-of-memory" in out
    assert "--max-memory" in out


@pytest.fixture
def sided(tmp_path: Path) -> Path:
    """A model whose labels are left and right of each other, with a total of both."""
    plan = threshold_plan(names={7: "Left-Blob", 255: "Right-Blob"})
    totals = [{"name": "total intracranial volume", "labels": (7, 255)}]
    return save_threshold_model(
        tmp_path / "sided", Plan.checked({**plan.model_dump(), "totals": totals})
    ).path


def test_people_read_left_and_right_in_one_line_and_totals_below(
    scan: Path, sided: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(scan), "-m", str(sided), "--masks"]) == 0

    classes = expected_classes(nibabel.load(scan).get_fdata())
    voxel_ml = abs(np.linalg.det(nibabel.load(scan).affine)) / 1000
    left, right = ((classes == number).sum() * voxel_ml for number in (1, 2))
    index = 100 * (left - right) / ((left + right) / 2)
    assert capfd.readouterr().out.splitlines()[1:5] == [
        f"  segmentation  {scan.with_name('scan_seg.nii.gz')}",
        f"  mask          {scan.with_name('scan_seg_total-intracranial-volume.nii.gz')}",
        f"  Blob                       left {left:.3f} mL, right {right:.3f} mL, asymmetry {index:+.1f} %",
        f"  total intracranial volume  {left + right:.3f} mL",
    ]


def test_people_read_why_a_pair_has_no_number(
    tmp_path: Path, sided: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flat = tmp_path / "flat.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 8, 7), np.int16), np.diag([1.0, 2.0, 3.0, 1.0])), flat)
    assert main(["infer", str(flat), "-m", str(sided)]) == 0
    out = capfd.readouterr().out
    assert "left 0.000 mL, right 0.000 mL, asymmetry - (neither side was found)" in out


def test_a_model_without_sides_and_totals_prints_one_line_for_each_label(
    scan: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(scan), "-m", str(model)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "segmentation", "outer", "inner", "model", "windows", "network", "memory"
    ]  # fmt: skip
    assert all(re.fullmatch(r"  (outer|inner)         \d+\.\d{3} mL", line) for line in lines[2:4])
