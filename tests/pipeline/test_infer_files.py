"""infer and infer_files: the output is on the input's grid, whole, named by rule, and done only once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

import medseg
from medseg.errors import InputRefused, NotFound, UsageError
from medseg.models import ModelBundle, Scope
from medseg.pipeline import infer, infer_files, open_model
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan

# Turned by 12 degrees about z, LPS-like, anisotropic, off centre.
_COS, _SIN = np.cos(np.deg2rad(12)), np.sin(np.deg2rad(12))
AFFINE = np.array(
    [
        [-0.9 * _COS, 1.2 * _SIN, 0.0, 41.0],
        [-0.9 * _SIN, -1.2 * _COS, 0.0, 33.0],
        [0.0, 0.0, 2.5, -70.25],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
IDS = np.array([0, 7, 255])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return save_threshold_model(tmp_path_factory.mktemp("models") / "threshold")


@pytest.fixture(autouse=True)
def _no_default_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEDSEG_MODEL", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no config"))


def save_scan(path: Path, seed: int = 0, shape: tuple[int, int, int] = (21, 17, 9)) -> NDArray[np.int16]:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).gamma(2.0, 100.0, size=shape).astype(np.int16)
    image = nibabel.Nifti1Image(data, AFFINE)
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=3)
    nibabel.save(image, path)
    return data


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


class TestWhereOutputsGo:
    def test_a_known_extension_makes_o_a_file(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        infer_files([tmp_path / "scan.nii.gz"], model=model, out=tmp_path / "out" / "mine.nrrd")
        assert names(tmp_path / "out") == ["mine.json", "mine.nrrd"]

    def test_one_file_for_two_inputs_is_refused(self, tmp_path: Path, model: ModelBundle) -> None:
        for name in "ab":
            save_scan(tmp_path / f"{name}.nii.gz")
        with pytest.raises(UsageError, match="one file for 2 inputs: give a folder"):
            infer_files(
                [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], model=model, out=tmp_path / "c.nii.gz"
            )

    @pytest.mark.parametrize(
        ("first", "second", "out"),
        [
            ("a/scan.nii.gz", "b/scan.nii.gz", "out"),
            ("scan.nii", "scan.nii.gz", None),
            ("Scan.nii", "scan.nii.gz", None),
        ],
    )
    def test_two_inputs_with_one_stem_are_refused_before_anything_runs(
        self, tmp_path: Path, model: ModelBundle, first: str, second: str, out: str | None
    ) -> None:
        for path in (first, second):
            save_scan(tmp_path / path)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UsageError, match="would both be written to"):
            infer_files([tmp_path / first, tmp_path / second], model=model, out=out and tmp_path / out)
        assert sorted(tmp_path.rglob("*")) == before

    def test_one_name_in_two_folders_is_no_clash(self, tmp_path: Path, model: ModelBundle) -> None:
        for folder in "ab":
            save_scan(tmp_path / folder / "t1.nii.gz")
        assert infer_files([tmp_path / "a/t1.nii.gz", tmp_path / "b/t1.nii.gz"], model=model).exit_code == 0
        assert (tmp_path / "a" / "t1_seg.nii.gz").is_file()
        assert (tmp_path / "b" / "t1_seg.nii.gz").is_file()

    def test_an_input_is_never_overwritten(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        with pytest.raises(UsageError, match="is an input"):
            infer_files([tmp_path / "scan.nii.gz"], model=model, out=tmp_path / "scan.nii.gz", overwrite=True)

    @pytest.mark.parametrize("formats", [("dicom-seg",), (), ("nii.gz", "png")])
    def test_a_format_that_cannot_be_written_is_refused(
        self, tmp_path: Path, model: ModelBundle, formats: tuple[str, ...]
    ) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        with pytest.raises(UsageError, match=r"expected some of nii\.gz, nii, nrrd"):
            infer_files([tmp_path / "scan.nii.gz"], model=model, formats=formats)

    def test_a_dicom_folder_is_never_written_into(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, real_data: Path
    ) -> None:
        model = save_threshold_model(
            tmp_path_factory.mktemp("large") / "m", threshold_plan(patch=(256, 256, 16))
        )
        series = tmp_path / "series"
        shutil.copytree(real_data / "dicom" / "ct_clean_j2k", series)
        before = names(series)
        for out in (series, series / "results"):
            with pytest.raises(UsageError, match="inside the DICOM folder"):
                infer_files([series], model=model, out=out)
        assert infer_files([series], model=model).exit_code == 0
        assert names(series) == before
        assert names(tmp_path) == ["series", "series_seg.json", "series_seg.nii.gz"]
        # One file of it means the whole series, and the same outputs.
        again = infer_files([series / before[3]], model=model)
        assert again.cases[0]["already_done"]


class TestDone:
    def test_a_finished_case_is_not_computed_again(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        first = infer_files([tmp_path / "scan.nii.gz"], model=model)
        when = (tmp_path / "scan_seg.nii.gz").stat().st_mtime_ns
        again = infer_files([tmp_path / "scan.nii.gz"], model=model)
        assert again.exit_code == 0
        assert again.cases[0] == {**first.cases[0], "already_done": True}
        assert (tmp_path / "scan_seg.nii.gz").stat().st_mtime_ns == when

    @pytest.mark.parametrize(
        "change", ["input", "options", "model", "sidecar", "no sidecar", "format", "preview"]
    )
    def test_anything_else_is_kept_and_refused_unless_overwrite(
        self, tmp_path: Path, model: ModelBundle, change: str
    ) -> None:
        scan, sidecar = tmp_path / "scan.nii.gz", tmp_path / "scan_seg.json"
        save_scan(scan)
        infer_files([scan], model=model)
        options: dict[str, Any] = {"model": model}
        if change == "input":
            save_scan(scan, seed=1)
        elif change == "options":
            options["overlap"] = 0.25
        elif change == "model":
            options["model"] = save_threshold_model(tmp_path / "other", threshold_plan(patch=(8, 8, 8)))
        elif change == "sidecar":
            sidecar.write_text('{"labels": []}')
        elif change == "no sidecar":
            sidecar.unlink()
        elif change == "format":
            options["formats"] = ("nii.gz", "nrrd")
        else:
            options["preview"] = True
        kept = (tmp_path / "scan_seg.nii.gz").read_bytes()

        report = infer_files([scan], **options)
        assert report.exit_code == 3
        (case,) = report.cases
        assert (case["verdict"], case["segmentation"]) == ("refused", None)
        assert case["reasons"][0]["code"] == "output-exists"
        assert "--overwrite" in case["reasons"][0]["message"]
        assert (tmp_path / "scan_seg.nii.gz").read_bytes() == kept

        report = infer_files([scan], **options, overwrite=True)
        assert report.exit_code == 0
        data = np.asanyarray(nibabel.load(scan).dataobj)
        written = np.asanyarray(nibabel.load(tmp_path / "scan_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(written, IDS[expected_classes(data)])

    def test_a_case_that_was_interrupted_while_writing_is_run_again(
        self, tmp_path: Path, model: ModelBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.pipeline import outputs

        scan = tmp_path / "scan.nii.gz"
        data = save_scan(scan)
        whole = outputs.write

        def stopped(item: Any, path: Path, *, overwrite: bool) -> Path:
            if path.name.endswith(".nrrd"):
                raise KeyboardInterrupt
            return whole(item, path, overwrite=overwrite)

        monkeypatch.setattr(outputs, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            infer_files([scan], model=model, formats=("nii.gz", "nrrd"))
        monkeypatch.undo()
        left = json.loads((tmp_path / "scan_seg.json").read_text())
        assert (left["verdict"], left["segmentation"]) == ("failed", None)
        assert left["reasons"][0]["code"] == "interrupted"

        report = infer_files([scan], model=model, formats=("nii.gz", "nrrd"))
        assert report.exit_code == 0
        assert names(tmp_path) == ["scan.nii.gz", "scan_seg.json", "scan_seg.nii.gz", "scan_seg.nrrd"]
        written = np.asanyarray(nibabel.load(tmp_path / "scan_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(written, IDS[expected_classes(data)])


class TestManyCases:
    def test_one_refused_scan_does_not_stop_the_others(self, tmp_path: Path, model: ModelBundle) -> None:
        for name in "ac":
            save_scan(tmp_path / f"{name}.nii.gz")
        (tmp_path / "b.nii.gz").write_bytes(b"not a scan at all")
        seen = []
        report = infer_files(
            [tmp_path / f"{name}.nii.gz" for name in "abc"],
            model=model,
            progress=lambda *now: seen.append(now),
        )
        assert [case["verdict"] for case in report.cases] == ["ok", "refused", "ok"]
        assert report.exit_code == 4
        assert report.cases[1]["reasons"]
        assert not (tmp_path / "b_seg.json").exists()
        assert [now for now in seen if now[0] == "cases"] == [("cases", n, 3) for n in range(4)]

    def test_a_folder_that_cannot_be_written_fails_the_case_by_name(
        self, tmp_path: Path, model: ModelBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.pipeline import outputs

        save_scan(tmp_path / "a.nii.gz")

        def full(*_: Any, **__: Any) -> Path:
            raise medseg.errors.WriteFailed("a_seg.nii.gz: could not be written: No space left on device")

        monkeypatch.setattr(outputs, "write", full)
        report = infer_files([tmp_path / "a.nii.gz"], model=model)
        assert report.exit_code == 4
        (case,) = report.cases
        assert (case["verdict"], case["reasons"][0]["code"]) == ("failed", "write-failed")

    def test_an_out_that_cannot_be_a_folder_fails_the_case_by_name(
        self, tmp_path: Path, model: ModelBundle
    ) -> None:
        save_scan(tmp_path / "a.nii.gz")
        (tmp_path / "taken").write_text("a file")
        (case,) = infer_files([tmp_path / "a.nii.gz"], model=model, out=tmp_path / "taken").cases
        assert (case["verdict"], case["reasons"][0]["code"]) == ("failed", "write-failed")
        assert "taken" in case["reasons"][0]["message"]

    def test_too_little_memory_fails_the_case_by_name(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz")
        (case,) = infer_files([tmp_path / "a.nii.gz"], model=model, max_memory="10 kB").cases
        assert (case["verdict"], case["reasons"][0]["code"]) == ("failed", "out-of-memory")
        assert not (tmp_path / "a_seg.nii.gz").exists()

    def test_a_missing_path_is_told_before_anything_runs(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz")
        with pytest.raises(NotFound, match=r"b\.nii\.gz"):
            infer_files([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], model=model)
        assert names(tmp_path) == ["a.nii.gz"]


class TestVerdicts:
    def test_a_scan_outside_the_scope_is_a_warning_and_refused_under_strict(self, tmp_path: Path) -> None:
        narrow = Scope(
            dimensions=3, description="thin slices", spacing_min_mm=(0.5, 0.5, 0.5), spacing_max_mm=(1, 1, 1)
        )
        model = save_threshold_model(tmp_path / "model", scope=narrow)
        save_scan(tmp_path / "scan.nii.gz")
        report = infer_files([tmp_path / "scan.nii.gz"], model=model, strict=True)
        assert report.exit_code == 3
        assert report.cases[0]["reasons"][0]["code"] == "outside-scope-spacing"
        assert not (tmp_path / "scan_seg.nii.gz").exists()
        report = infer_files([tmp_path / "scan.nii.gz"], model=model)
        assert report.exit_code == 0
        assert report.cases[0]["verdict"] == "warning"
        assert report.cases[0]["reasons"][0]["code"] == "outside-scope-spacing"

    def test_an_empty_segmentation_is_a_loud_warning(self, tmp_path: Path, model: ModelBundle) -> None:
        nibabel.save(nibabel.Nifti1Image(np.full((8, 7, 6), 3, np.int16), AFFINE), tmp_path / "flat.nii.gz")
        (case,) = infer_files([tmp_path / "flat.nii.gz"], model=model).cases
        assert case["verdict"] == "warning"
        assert "empty-segmentation" in [reason["code"] for reason in case["reasons"]]
        assert [label["volume_ml"] for label in case["labels"]] == [0.0, 0.0]
        with pytest.raises(InputRefused, match="strict"):
            infer(tmp_path / "flat.nii.gz", model, strict=True)


class TestChannels:
    @pytest.fixture
    def model(self, tmp_path: Path) -> ModelBundle:
        return save_threshold_model(tmp_path / "two", threshold_plan(channels=("flair", "t1")))

    def test_channels_go_to_the_network_by_name(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz", seed=1)
        flair = save_scan(tmp_path / "b.nii.gz", seed=2)
        case = f"t1={tmp_path / 'a.nii.gz'},flair={tmp_path / 'b.nii.gz'}"
        report = infer_files(model=model, case=case)
        assert report.exit_code == 0
        assert report.cases[0]["input"] == case
        written = nibabel.load(tmp_path / "a_seg.nii.gz")  # the first channel's stem
        np.testing.assert_array_equal(np.asanyarray(written.dataobj), IDS[expected_classes(flair)])
        in_memory = infer({"flair": tmp_path / "b.nii.gz", "t1": tmp_path / "a.nii.gz"}, model)
        np.testing.assert_array_equal(in_memory.labels.data, IDS[expected_classes(flair)])

    def test_channels_on_two_grids_are_refused(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz")
        save_scan(tmp_path / "b.nii.gz", shape=(21, 17, 8))
        report = infer_files(model=model, case={"t1": tmp_path / "a.nii.gz", "flair": tmp_path / "b.nii.gz"})
        (reason,) = report.cases[0]["reasons"]
        assert reason["code"] == "grid-differs"
        assert "21x17x8" in reason["message"]
        assert "21x17x9" in reason["message"]

    @pytest.mark.parametrize("case", ["t1=", "t1", "t1=a.nii.gz,t1=b.nii.gz", ""])
    def test_a_case_that_does_not_parse_says_how_it_should_read(self, case: str, model: ModelBundle) -> None:
        with pytest.raises(UsageError, match="name=path,name=path"):
            infer_files(model=model, case=case)

    def test_channels_the_model_does_not_know_are_refused(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz")
        with pytest.raises(UsageError, match="needs flair, t1"):
            infer_files(model=model, case={"t1": tmp_path / "a.nii.gz", "t2": tmp_path / "a.nii.gz"})


class TestModelChoice:
    @pytest.fixture
    def shelf(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Two models: one for thick slices, one for thin ones."""
        from medseg.models import registry

        shelf = tmp_path / "shelf"
        for name, low, high in (("thick", 2.0, 4.0), ("thin", 0.5, 1.5)):
            scope = Scope(
                dimensions=3,
                description=f"{name} slices",
                spacing_min_mm=(0.5, 0.5, low),
                spacing_max_mm=(1.5, 1.5, high),
            )
            shelf.mkdir(exist_ok=True)
            save_threshold_model(shelf / name, threshold_plan(name=name), scope)
        monkeypatch.setattr(registry, "BUILTIN", shelf)
        return shelf

    def test_the_model_whose_scope_accepts_the_scan_is_used_and_named(
        self, tmp_path: Path, shelf: Path
    ) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        (case,) = infer_files([tmp_path / "scan.nii.gz"]).cases
        assert (case["verdict"], case["model"]) == ("ok", "thick")

    def test_none_or_several_are_refused_with_the_list(self, tmp_path: Path, shelf: Path) -> None:
        nibabel.save(
            nibabel.Nifti1Image(np.ones((5, 6, 7), np.int16), np.diag([9.0, 9, 9, 1])),
            tmp_path / "coarse.nii.gz",
        )
        report = infer_files([tmp_path / "coarse.nii.gz"])
        assert report.exit_code == 3
        (reason,) = report.cases[0]["reasons"]
        assert reason["code"] == "no-model"
        assert "thick (thick slices); thin (thin slices)" in reason["message"]

        shutil.copytree(shelf / "thick", shelf / "twin")
        save_scan(tmp_path / "scan.nii.gz")
        (reason,) = infer_files([tmp_path / "scan.nii.gz"]).cases[0]["reasons"]
        assert reason["code"] == "several-models"

    def test_the_environment_names_the_default(
        self, tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MEDSEG_MODEL", "thin")
        save_scan(tmp_path / "scan.nii.gz")
        (case,) = infer_files([tmp_path / "scan.nii.gz"]).cases
        assert (case["model"], case["verdict"]) == ("thin", "warning")

    def test_a_model_that_is_not_there_fails_before_a_scan_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "scan.nii.gz").write_bytes(b"never looked at")
        with pytest.raises(NotFound, match="nonesuch"):
            infer_files([tmp_path / "scan.nii.gz"], model="nonesuch")


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


def test_an_exception_from_progress_cancels_and_leaves_nothing(tmp_path: Path, model: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "predict" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_files([tmp_path / "scan.nii.gz"], model=model, progress=cancel)
    assert names(tmp_path) == ["scan.nii.gz"]


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
