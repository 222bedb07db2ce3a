"""The reader: what opens as what. No viewer."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari_medseg._reader import get_reader, is_label_map, read_layers
from napari_medseg.recovery.sessions import open_session

import medseg

from .session_case import LABELS, label_map


def _save(path, data, affine=None):
    image = nib.Nifti1Image(np.asarray(data), np.diag((0.8, 1.5, 4, 1)) if affine is None else affine)
    image.set_sform(image.affine, code=1)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("case_seg.nii.gz", True),
        ("case.seg.nrrd", True),
        ("sub-1_dseg.nii", True),
        ("case_mask.nii", True),
        ("labelsTr/case.nii.gz", True),
        ("labels/7.png", True),
        ("case.nii.gz", False),
        ("imagesTr/case_0000.nii.gz", False),
        ("segment.nii", False),
        ("relabelled.nii", False),
    ],
)
def test_label_maps_are_known_by_their_names(tmp_path, name, expected):
    assert is_label_map(tmp_path / name) is expected


def test_a_scan_opens_as_an_image_and_its_segmentation_as_labels(tmp_path):
    data = np.zeros((6, 7, 8), np.uint8)
    data[2, 3, 4] = 2
    image, labels = (_save(tmp_path / name, data) for name in ("x.nii.gz", "x_seg.nii.gz"))
    reader = get_reader([str(image), str(labels)])
    (scan, options, kind), (segmentation, _, kind_of_labels) = reader([str(image), str(labels)])
    assert (kind, kind_of_labels, options["name"]) == ("image", "labels", "x")
    np.testing.assert_array_equal(np.asarray(scan) > 0, np.asarray(segmentation) == 2)


def test_a_correction_saved_under_any_name_opens_as_labels_with_their_names(tmp_path):
    start = label_map()
    session = open_session(start, case="case", root=tmp_path / "sessions")
    saved = session.save(tmp_path / "h004_corr.nii.gz")
    session.close(discard=True)
    ((data, options, kind),) = read_layers(str(saved))
    assert kind == "labels"
    assert options["features"]["name"][1:] == list(LABELS.names)
    np.testing.assert_array_equal(
        np.unique(data, return_counts=True), np.unique(start.data, return_counts=True)
    )


_PROVENANCE = {"format_version": 1, "medseg": "1.0", "segmentation": {"name": "x.nii.gz", "sha256": None}}
_SIDECAR = {"format_version": 1, "segmentation": "C:\\out\\x.nii.gz", "provenance": {}}


@pytest.mark.parametrize(
    ("beside", "document", "expected"),
    [
        ("x.provenance.json", _PROVENANCE, True),
        ("x.json", _SIDECAR, True),
        ("x.json", _SIDECAR | {"segmentation": "/out/x.nii.gz"}, True),
        ("x.provenance.json", _PROVENANCE | {"segmentation": {"name": "other.nii.gz"}}, False),
        ("x.provenance.json", _PROVENANCE | {"format_version": 2}, False),
        ("x.json", _SIDECAR | {"segmentation": "x_seg.nii.gz"}, False),
        ("x.json", {"Modality": "MR", "segmentation": "x.nii.gz"}, False),  # BIDS describes scans so
        ("x.json", ["x.nii.gz"], False),
    ],
)
def test_only_json_of_medseg_that_names_a_file_makes_it_a_label_map(tmp_path, beside, document, expected):
    (tmp_path / beside).write_text(json.dumps(document), encoding="utf-8")
    assert is_label_map(tmp_path / "x.nii.gz") is expected


def test_what_medseg_cannot_read_is_left_to_other_plugins(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("hello")
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path / "folder")) is None
    assert (
        get_reader([str(tmp_path / "notes.txt"), str(_save(tmp_path / "x.nii", np.ones((3, 4, 5), "u1")))])
        is None
    )


def test_a_doubt_about_a_scan_becomes_a_warning_with_the_files_name(tmp_path):
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "unplaced.nii")
    expected = medseg.read(tmp_path / "unplaced.nii").verdict
    assert expected.status == "warning"
    with pytest.warns(UserWarning, match=r"unplaced\.nii: "):
        read_layers(str(tmp_path / "unplaced.nii"))


def test_a_refused_scan_raises_with_the_cure_instead_of_a_wrong_picture(tmp_path):
    affine = np.diag((1.0, 1.0, 2.0, 1.0))
    affine[1, 2] = 0.8  # a tilted gantry
    path = _save(tmp_path / "tilted.nii", np.ones((3, 4, 5), np.uint8), affine)
    with pytest.raises(medseg.InputRefused, match="tilted"):
        read_layers(str(path))


def test_a_dicom_folder_opens_as_one_image(real_data):
    folder = real_data / "dicom" / "ct_clean_j2k"
    reader = get_reader(str(folder))
    ((data, options, kind),) = reader(str(folder))
    assert kind == "image"
    assert data.shape[0] == 20
    assert options["scale"][0] == pytest.approx(2.0)
    assert options["contrast_limits"] == (-160.0, 240.0)


def test_every_pattern_of_the_manifest_is_a_format_medseg_reads():
    import napari_medseg
    import yaml

    from medseg.io.files import EXTENSIONS

    manifest = yaml.safe_load(
        (Path(napari_medseg.__file__).parent / "napari.yaml").read_text(encoding="utf-8")
    )
    patterns = manifest["contributions"]["readers"][0]["filename_patterns"]
    assert {pattern.removeprefix("*").lower() for pattern in patterns} <= set(EXTENSIONS)
