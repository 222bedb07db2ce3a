"""Confusion of labels against scikit-learn's matrix, and the sentences read off it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from medseg.evaluation.confusion import Confusion, MixUp, confusion_counts
from medseg.labels import LabelSet

NAMES = LabelSet.from_names({0: "air", 3: "left kidney", 7: "right kidney", 255: "spleen", 600: "liver"})


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_counts_are_those_of_scikit_learn_in_any_memory_order(order: str, dtype: type) -> None:
    generator = np.random.default_rng(3)
    # 9 is no label and stands for voxels that nobody judged: they are in no count.
    ref, pred = (generator.choice((0, 3, 7, 9, 255, 600), (13, 7, 5)).astype(dtype) for _ in range(2))
    ours = confusion_counts(np.asarray(pred, order="C"), np.asarray(ref, order=order), NAMES.ids)
    expected = confusion_matrix(ref.ravel(), pred.ravel(), labels=[0, *NAMES.ids])
    np.testing.assert_array_equal(ours, expected)
    beyond = np.full(3, 70_000, np.uint32)
    assert not confusion_counts(beyond, np.zeros(3, np.uint32), NAMES.ids).any()


def test_sentences_name_what_is_taken_for_what() -> None:
    counts = np.zeros((5, 5), np.int64)
    counts[0, 0], counts[0, 3] = 10_000, 20  # a fifth of what is called spleen is air
    counts[1] = (0, 960, 40, 0, 0)
    counts[2] = (600, 1, 399, 0, 0)  # one of a thousand is not worth a sentence
    counts[3, 3] = 80
    confusion = Confusion(NAMES, counts)
    assert [one.words for one in confusion.between_labels()] == ["left kidney: 4.0 % taken for right kidney"]
    assert confusion.between_labels()[0] == MixUp(
        "left kidney", "right kidney", 0.04, 40, "left kidney: 4.0 % taken for right kidney"
    )
    assert [one.words for one in confusion.with_background()] == [
        "right kidney: 60 % missed, taken for air",
        "spleen: 20 % of what was found is air",
    ]
    assert np.isnan(confusion.shares[4]).all()  # no liver in the reference: nothing to take a share of
    np.testing.assert_allclose(confusion.shares[:4].sum(axis=1), 1)


def test_cases_add_up_and_a_matrix_of_another_size_is_refused() -> None:
    one = np.array([0, 3, 3, 255], np.uint8)
    twice = Confusion.none(NAMES).plus(one, one).plus(one, np.zeros(4, np.uint8))
    assert twice.counts[0].tolist() == [2, 2, 0, 1, 0]
    assert twice.counts.sum() == 8
    with pytest.raises(ValueError, match=r"4 labels need \(5, 5\)"):
        Confusion(NAMES, np.zeros((4, 4), np.int64))
    with pytest.raises(ValueError, match="one grid"):
        Confusion.none(NAMES).plus(one, one[:3])
