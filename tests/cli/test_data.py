"""``medseg data``: exit codes, one JSON document, findings in words."""

from __future__ import annotations

import json

import numpy as np

from medseg.cli.app import main
from tests.datasets import made_layouts as made


def test_check_ends_with_4_where_there_are_faults_and_0_where_there_are_notes(tmp_path, capsys):
    source = made.decathlon_4d(tmp_path / "source")
    assert main(["data", "import", str(source), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert "decathlon: 2 cases imported, 0 problems" in capsys.readouterr().out
    assert main(["data", "import", str(source), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert "decathlon: 2 cases imported already by an earlier run" in capsys.readouterr().out
    (tmp_path / "out/labels/BRATS_002.nii.gz").unlink()
    assert main(["data", "import", str(source), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert "2 cases imported, 1 of them by an earlier run" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "out")]) == 0
    assert "2 cases, 0 faults, " in capsys.readouterr().out
    made.save(tmp_path / "out/labels/BRATS_002.nii.gz", np.full(made.SHAPE, 7, np.uint8))
    assert main(["data", "check", str(tmp_path / "out")]) == 4
    out = capsys.readouterr().out
    assert "unknown-labels" in out
    assert "name the id in the dataset's labels" in out
    assert main(["data", "check", str(tmp_path / "out"), "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["findings"][0]["code"] == "unknown-labels"
    assert document["findings"][0]["file"].endswith("labels/BRATS_002.nii.gz")


def test_import_ends_with_3_where_nothing_can_be_imported_and_4_where_some_can(tmp_path, capsys):
    source = made.nnunet_v1(tmp_path / "source")
    made.save(source / "labelsTr/la_002.nii.gz", made.labels(1, (9,)))
    assert main(["data", "import", str(source), "-o", str(tmp_path / "out"), "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert [(one["where"], one["code"]) for one in document["refused"]] == [("la_002", "unknown-labels")]
    assert document["datasets"] == []
    (source / "imagesTr/la_001_0001.nii.gz").unlink()
    assert main(["data", "import", str(source), "--dry-run"]) == 3
    assert "la_001_0001.nii.gz" in capsys.readouterr().err
    assert main(["data", "import", str(source)]) == 2
    assert "-o OUT" in capsys.readouterr().err
