"""The sample: made the same way each time, on a grid that a mix-up of axes would not survive."""

from __future__ import annotations

import numpy as np
import pytest
from napari_medseg._sample_data import hippocampus, make_scan, segmented_hippocampus

import medseg


def test_the_sample_is_the_same_each_time_oblique_and_anisotropic():
    (first, labels), (second, _) = make_scan(), make_scan()
    np.testing.assert_array_equal(first.data, second.data)
    assert first.geometry == labels.geometry
    assert first.geometry.is_oblique
    assert len(set(first.geometry.shape)) == len({round(s, 2) for s in first.geometry.spacing}) + 1
    assert labels.labels.names == ("Anterior", "Posterior")


def test_the_structures_lie_on_the_scan_as_layers():
    ((image, shown, kind),) = hippocampus()
    (again, _, _), (labels, placed, kind_of_labels) = segmented_hippocampus()
    assert (kind, kind_of_labels) == ("image", "labels")
    np.testing.assert_array_equal(image, again)
    assert (shown["scale"], shown["translate"]) == (placed["scale"], placed["translate"])
    inside = np.asarray(image)[np.asarray(labels) > 0]
    assert abs(float(inside.mean()) - 51) < 6  # grey matter throughout: nothing is mirrored or shifted


def test_the_built_in_model_takes_the_sample_for_what_it_shows():
    volume, truth = make_scan()
    result = medseg.infer(volume)
    assert (result.model, result.verdict.status) == ("hippocampus", "ok")
    found, expected = result.labels.data > 0, truth.data > 0
    dice = 2 * np.count_nonzero(found & expected) / (np.count_nonzero(found) + np.count_nonzero(expected))
    assert dice > 0.85


@pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")
def test_napari_lists_and_opens_the_samples(viewer):
    viewer.open_sample("medseg", "segmented_hippocampus")
    image, labels = viewer.layers
    assert labels.metadata["medseg"]["labels"].names == ("Anterior", "Posterior")
    np.testing.assert_allclose(image.extent.world, labels.extent.world)
