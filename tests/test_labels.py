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


@pytest.mark.parametrize(
    ("left", "right", "name"),
    [
        ("Left-Hippocampus", "Right-Hippocampus", "Hippocampus"),
        ("kidney_left", "kidney_right", "kidney"),
        ("hippocampus L", "hippocampus R", "hippocampus"),
        ("hippocampus (left)", "hippocampus (right)", "hippocampus"),
        ("lh.amygdala", "rh.amygdala", "amygdala"),
        ("ctx-lh-superior_frontal", "ctx-rh-superior_frontal", "ctx-superior_frontal"),
        ("LeftLung", "RightLung", "Lung"),
        ("lung, left, lower lobe", "lung, right, lower lobe", "lung, lower lobe"),
        ("Écorce left", "Écorce right", "Écorce"),
        ("left", "right", "left/right"),
    ],
)
@pytest.mark.parametrize("ids", [(17, 53), (53, 17)])
def test_a_pair_is_named_without_its_side_and_knows_which_is_left(
    left: str, right: str, name: str, ids: tuple[int, int]
) -> None:
    labels = LabelSet.from_names({ids[0]: left, ids[1]: right, 4: "liver", 5: "left spleen"})
    assert [(pair.name, pair.left, pair.right) for pair in labels.pairs] == [(name, *ids)]


def test_of_two_labels_with_the_same_words_one_is_paired() -> None:
    labels = LabelSet.from_names({1: "left lung", 2: "Left-Lung", 3: "right lung"})
    assert [(pair.left, pair.right) for pair in labels.pairs] == [(2, 3)]
