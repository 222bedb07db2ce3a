"""Small datasets on which a few steps of training already show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ball_data import make_case, write_nifti
from tests.label_map_data import write_label_maps


@pytest.fixture(scope="session")
def decathlon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cases in the Decathlon's layout, labels 1 and 4."""
    folder = tmp_path_factory.mktemp("data") / "Task99_Balls"
    entries = []
    for n in range(10):
        image, label = make_case(n)
        write_nifti(folder / f"imagesTr/ball_{n:02d}.nii.gz", image)
        write_nifti(folder / f"labelsTr/ball_{n:02d}.nii.gz", label)
        entries.append(
            {"image": f"./imagesTr/ball_{n:02d}.nii.gz", "label": f"./labelsTr/ball_{n:02d}.nii.gz"}
        )
    facts = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "bright", "4": "dark"},
        "training": entries,
    }
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="session")
def label_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three label maps, LIA and anisotropic, with their tables."""
    return write_label_maps(tmp_path_factory.mktemp("maps") / "heads")
