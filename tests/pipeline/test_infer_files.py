"""infer and infer_files: the output is on the input's grid, and the document says how it came about."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import zarr

import medseg
from medseg.models import ModelBundle
from medseg.pipeline import infer, infer_files, open_model
from tests.pipeline.scans import AFFINE, IDS, names, save_scan
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan


def test_the_segmentation_is_on_the_inputs_grid_bit_for_bit(tmp_path: Path, model: ModelBundle) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    report = infer_files([tmp_path / "scan.nii.gz"], model=model)
    assert report.exit_code == 0
    assert names(tmp_path) == ["scan.nii.gz", "scan_seg.json", "scan_seg.nii.gz"]

    written, original = (nibabel.load(tmp_path / f"scan{end}.nii.gz") for end in ("_seg", ""))
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), IDS[expected_classes(data)])
    for form in ("sform", "qform"):
        mine, code = getattr(written, f"get_{form}")(coded=True)
        theirs, expected_code = getattr(original, f"get_{form}")(coded=True)
        assert code == expected_code
        np.testing.assert_array_equal(mine, theirs)


def test_the_document_says_what_was_found_and_how(tmp_path: Path, model: ModelBundle) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    document = infer_files([tmp_path / "scan.nii.gz"], model=model, threads=1).to_json()
    assert document["format_version"] == 1
    (case,) = document["cases"]
    assert case["input"] == str(tmp_path / "scan.nii.gz")
    assert case["segmentation"] == str(tmp_path / "scan_seg.nii.gz")
    assert (case["model"], case["verdict"], case["reasons"]) == ("threshold", "ok", [])

    voxel_ml = abs(np.linalg.det(AFFINE)) / 1000
    counts = [(expected_classes(data) == n).sum() for n in (1, 2)]
    assert [(label["id"], label["name"], label["voxels"]) for label in case["labels"]] == [
        (7, "outer", counts[0]),
        (255, "inner", counts[1]),
    ]
    for label, count in zip(case["labels"], counts, strict=True):
        assert label["volume_ml"] == pytest.approx(count * voxel_ml, abs=1e-6)
    timings = case["timings_s"]
    assert {"read", "model", "prepare", "network", "finish", "measure", "write", "total"} == set(timings)
    assert timings["total"] >= timings["network"] + timings["finish"]

    provenance = case["provenance"]
    import hashlib

    digest = hashlib.sha256((tmp_path / "scan.nii.gz").read_bytes()).hexdigest()
    assert provenance["input_sha256"] == digest
    assert provenance["medseg"] == medseg.__version__
    assert provenance["model"] == {"name": "threshold", "sha256": model.hash}
    assert provenance["execution"]["precision"] == "f32"
    assert provenance["execution"]["threads"] == 1
    assert provenance["libraries"]["numpy"] == np.__version__

    sidecar = json.loads((tmp_path / "scan_seg.json").read_text())
    assert sidecar == {"format_version": 1, **case}


def test_in_memory_and_from_a_file_give_the_same(tmp_path: Path, model: ModelBundle) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    stages = []
    opened = open_model(model)
    for given in (tmp_path / "scan.nii.gz", medseg.read(tmp_path / "scan.nii.gz")):
        result = infer(given, opened, probabilities=True, progress=lambda *now: stages.append(now))
        np.testing.assert_array_equal(result.labels.data, IDS[expected_classes(data)])
        assert result.labels.labels.names == ("outer", "inner")
        assert result.model == "threshold"
        assert result.probabilities is not None
        np.testing.assert_allclose(result.probabilities.data.sum(axis=0), 1, atol=1e-5)
        assert result.labels.geometry == result.probabilities.geometry
    assert stages[-1] == ("predict", 8, 8)


def test_formats_preview_and_probabilities_are_written_and_named(tmp_path: Path, model: ModelBundle) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    report = infer_files(
        [tmp_path / "scan.nii.gz"],
        model=model,
        out=tmp_path / "new" / "folder",
        formats=("nrrd", "nii.gz"),
        preview=True,
        probabilities=True,
    )
    folder = tmp_path / "new" / "folder"
    stem = "scan_seg"
    assert names(folder) == [
        f"{stem}.json",
        f"{stem}.nii.gz",
        f"{stem}.nrrd",
        f"{stem}.png",
        f"{stem}_maps.zarr",
    ]
    (case,) = report.cases
    assert case["segmentation"] == str(folder / "scan_seg.nrrd")
    assert case["segmentations"] == [str(folder / "scan_seg.nrrd"), str(folder / "scan_seg.nii.gz")]
    assert case["preview"] == str(folder / "scan_seg.png")
    assert case["probabilities"] == str(folder / "scan_seg_maps.zarr" / "probabilities")
    shares = np.asarray(zarr.open_array(case["probabilities"], mode="r"))
    np.testing.assert_array_equal(shares.argmax(axis=0), expected_classes(data))
    assert (folder / "scan_seg.png").read_bytes().startswith(b"\x89PNG")


def test_same_input_same_labels_bit_for_bit_and_the_model_is_opened_once(
    tmp_path: Path, model: ModelBundle
) -> None:
    for n in range(3):
        save_scan(tmp_path / f"s{n}.nii.gz", seed=4)
    report = infer_files([tmp_path / f"s{n}.nii.gz" for n in range(3)], model=model, threads=2)
    first, *others = (nibabel.load(case["segmentation"]).get_fdata() for case in report.cases)
    for other in others:
        np.testing.assert_array_equal(first, other)
    assert [case["timings_s"]["model"] > 0 for case in report.cases] == [True, False, False]


def test_an_image_without_spacing_has_null_volumes_with_a_reason(tmp_path: Path) -> None:
    from PIL import Image

    model = save_threshold_model(tmp_path / "model", threshold_plan(dimensions=2, patch=(16, 8)))
    pixels = np.random.default_rng(8).integers(0, 255, size=(19, 26), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cells.png")
    (case,) = infer_files([tmp_path / "cells.png"], model=model).cases
    assert case["segmentation"] == str(tmp_path / "cells_seg.nii.gz")
    written = np.asanyarray(nibabel.load(case["segmentation"]).dataobj).reshape(26, 19)
    np.testing.assert_array_equal(written, IDS[expected_classes(pixels.T[..., None])[..., 0]])
    for label in case["labels"]:
        assert label["volume_ml"] is None
        assert label["reason"]


def test_a_cold_infer_loads_only_what_it_needs(tmp_path: Path, model: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    code = f"""
import sys
from medseg.pipeline import infer_files
report = infer_files([{str(tmp_path / "scan.nii.gz")!r}], model={str(model.path)!r}, device="cpu")
heavy = "torch monai scipy pandas matplotlib SimpleITK pydicom nibabel PIL cc3d onnx".split()
print(report.exit_code, [name for name in heavy if name in sys.modules])
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.split(maxsplit=1) == ["0", "[]\n"], done.stdout + done.stderr
