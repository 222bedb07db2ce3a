"""LabelSet: ids, names, and which structures are left and right of each other."""

from __future__ import annotations

import pytest

from medseg import Label, LabelSet


def test_labels_are_ordered_by_id_and_found_by_it() -> None:
    labels = LabelSet.from_names({300: "spleen", 2: "liver", 0: "air"})
    assert labels.ids == (2, 300)
    assert labels.names == ("liver", "spleen")
    assert labels.background == "air"
    assert labels[300].name == "spleen"
    assert len({label.colour for label in labels}) == 2
    with pytest.raises(KeyError, match="there are 2, 300"):
        labels[7]


def test_unnamed_ids_keep_their_numbers() -> None:
    assert LabelSet.from_ids([255, 0, 3]).names == ("label 3", "label 255")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Left-Hippocampus", "Right-Hippocampus"),
        ("kidney_left", "kidney_right"),
        ("hippocampus L", "hippocampus R"),
        ("lh.amygdala", "rh.amygdala"),
        ("LeftLung", "RightLung"),
        ("LEFT atrium", "Right Atrium"),
    ],
)
def test_partners_differ_in_the_side_alone(left: str, right: str) -> None:
    labels = LabelSet.from_names({17: left, 53: right, 4: "liver"})
    assert labels.mirrored_ids == {17: 53, 53: 17}
    assert labels.one_sided_ids == ()


def test_a_side_without_its_partner_is_named() -> None:
    labels = LabelSet.from_names({1: "left kidney", 2: "right lung", 3: "bright spot", 4: "cleft"})
    assert labels.mirrored_ids == {}
    assert labels.one_sided_ids == (1, 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda: Label(0, "air", (1, 2, 3)), "0 is background"),
        (lambda: Label(70000, "x", (1, 2, 3)), "1 to 65535"),
        (lambda: Label(1, " ", (1, 2, 3)), "empty name"),
        (lambda: Label(1, "x", (1, 2, 300)), "colour"),
        (lambda: LabelSet((Label(1, "a", (0, 0, 0)), Label(1, "b", (0, 0, 0)))), "id .* more than once"),
        (lambda: LabelSet((Label(1, "a", (0, 0, 0)), Label(2, "a", (0, 0, 0)))), "name .* more than once"),
    ],
)
def test_impossible_labels_are_never_built(labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labels()  # type: ignore[operator]
