"""Names of structures that no label set could hold are settled, never a fault of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg import LabelMap, LabelSet
from medseg.geometry import Geometry
from medseg.io.naming import Structure, label_set, with_unnamed


def test_names_for_unnamed_ids_are_never_taken() -> None:
    known = LabelSet.from_names({1: "label 3", 2: "unnamed label 3", 4: "unnamed label 3'", 0: "rest"})
    found = with_unnamed(known, [3, 5])
    assert found.background == "rest"
    assert {label.id: label.name for label in found} == {
        1: "label 3", 2: "unnamed label 3", 3: "unnamed label 3''", 4: "unnamed label 3'", 5: "label 5"
    }  # fmt: skip
    between = with_unnamed(LabelSet.from_names({9: "label 3", 8: "label 5"}), [3, 5])
    assert sorted(between.names) == ["label 3", "label 5", "unnamed label 3", "unnamed label 5"]


def test_a_file_may_name_its_structures_as_medseg_names_the_others(tmp_path: Path) -> None:
    data = np.zeros((5, 4, 3), np.uint8)
    data[1], data[2], data[3] = 1, 2, 3
    names = LabelSet.from_names({1: "label 3", 2: "unnamed label 3", 3: "x"})
    path = medseg.write(LabelMap(data, Geometry(data.shape, np.eye(4)), names), tmp_path / "x.seg.nrrd")
    path.write_bytes(path.read_bytes().replace(b"Segment2_LabelValue:=3", b"Segment2_LabelValue:=7"))
    found = medseg.read_labels(path)
    assert found.labels[3].name == "unnamed label 3'"
    assert found.verdict.codes == ("labels-unnamed",)


def test_many_names_that_collide_are_settled() -> None:
    names = [f"x 3{chr(39) * n}" for n in range(2_000)]
    structures = [Structure(n + 10, name) for n, name in enumerate(names)]
    found, _ = label_set([Structure(3, "x"), Structure(4, "x"), *structures])
    assert len(set(found.names)) == 2_002


@pytest.mark.parametrize("name", ["", " \0", "\n", "\u00a0", "\x0b\x1c"])
def test_a_name_of_nothing_visible_is_none(name: str) -> None:
    assert label_set([Structure(7, name)])[0].names == ("label 7",)
