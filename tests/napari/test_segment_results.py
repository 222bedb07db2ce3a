"""Results of runs in the window: cleaned up, with the model's doubt, and not twice the same."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from napari_medseg._sample_data import make_scan
from napari_medseg.layers import METADATA_KEY
from napari_medseg.results import is_unedited, result_layer, run_result
from napari_medseg.run_options import DOUBT_VOXELS, CleanUp, RunOptions
from napari_medseg.segmenting import model_choices, run
from scipy import ndimage

import medseg

pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_WAIT_MS = 60_000
_SHEARED = np.array(((-0.8, 0, 0, 9), (0, 1.5, 0, -3), (0, 1.3, 4, 2), (0, 0, 0, 1)))


@pytest.fixture(scope="module")
def found():
    """The sample, segmented, with the entropy as the window asks for it."""
    choice = next(choice for choice in model_choices() if choice.title.startswith("hippocampus"))
    return run(make_scan()[0], choice, RunOptions(device="cpu"), lambda *_: None, Event())


def _specks():
    ids = (np.random.default_rng(3).random((11, 9, 7)) < 0.25).astype(np.uint8) * 4
    return medseg.LabelMap(
        ids, medseg.Geometry(ids.shape, _SHEARED), medseg.LabelSet.from_names({4: "liver"})
    )


def test_clean_up_removes_what_scipy_counts_as_small_or_second():
    labels = _specks()
    pieces, count = ndimage.label(labels.data, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(np.ones(pieces.shape), pieces, range(1, count + 1)) * (0.8 * 1.5 * 4)
    limit = float(np.median(sizes)) + 0.1
    large = np.isin(pieces, np.flatnonzero(sizes >= limit) + 1)
    np.testing.assert_array_equal(CleanUp(smallest_mm3=limit).apply(labels).data > 0, large)
    largest = pieces == np.argmax(sizes) + 1
    np.testing.assert_array_equal(CleanUp(largest_only=True).apply(labels).data > 0, largest)
    assert CleanUp().apply(labels) is labels
    flat = replace(labels.geometry, spacing_known=False)
    with pytest.raises(medseg.UsageError, match='Set "Remove below" to none'):
        CleanUp(smallest_mm3=5).apply(replace(labels, geometry=flat))


def test_clean_up_is_in_the_provenance_and_warns_if_nothing_is_left():
    plain = medseg.infer(make_scan()[0], "hippocampus")
    assert "clean_up" not in run_result(plain, RunOptions()).provenance
    emptied = run_result(plain, RunOptions(clean_up=CleanUp(True, 1e6)))
    assert emptied.provenance["clean_up"] == {"keep_largest": True, "smallest_mm3": 1e6}
    assert not emptied.labels.data.any()
    assert emptied.verdict.status == "warning"
    assert "removed everything" in emptied.verdict.reasons[-1].message


def test_doubt_is_made_unless_the_scan_is_large_or_somebody_says_so(found):
    assert RunOptions().wants_doubt((256, 256, 256))
    assert not RunOptions().wants_doubt((512, 512, 300))
    assert RunOptions(doubt=True).wants_doubt((1024, 1024, DOUBT_VOXELS))
    assert not RunOptions(doubt=False).wants_doubt((4, 4, 4))
    expected = medseg.infer(make_scan()[0], "hippocampus", entropy=True).entropy.data[0]
    assert found.doubt.shape == found.labels.geometry.shape
    np.testing.assert_allclose(found.doubt, expected, rtol=1e-3, atol=1e-6)


def test_any_edit_of_a_result_is_noticed_and_taking_it_back_too(found):
    data, options, _ = result_layer(found, found.key(["scan"]), "seg")
    before = data[5, 6, 7]
    assert is_unedited(data, options["metadata"])
    data[5, 6, 7] = before + 1
    assert not is_unedited(data, options["metadata"])
    data[5, 6, 7] = before
    assert is_unedited(data, options["metadata"])


@pytest.fixture
def widget(viewer):
    """The segment widget in its dock, with the sample open."""
    viewer.open_sample("medseg", "hippocampus")
    _, made = viewer.window.add_plugin_dock_widget("medseg", "Segment")
    made.models.list.setCurrentIndex(made.models.list.findText("hippocampus (built-in)"))
    return made


def _run(widget, qtbot):
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.running, timeout=_WAIT_MS)


def test_a_second_run_adds_no_layer_unless_the_first_was_edited(viewer, qtbot, widget):
    _run(widget, qtbot)
    scan, doubt, first = viewer.layers
    viewer.layers.selection.active = scan
    _run(widget, qtbot)
    assert list(viewer.layers) == [scan, doubt, first]
    assert viewer.layers.selection.active is first
    assert "no further layer" in widget.banner.text()
    first.data[3, 4, 5] = 2
    _run(widget, qtbot)
    assert [layer.name for layer in viewer.layers[2:]] == [first.name, f"{first.name}, run 2"]
    assert first.data[3, 4, 5] == 2
    assert "were edited: they stay" in widget.banner.text()
    widget.options.largest.setChecked(True)
    _run(widget, qtbot)
    assert viewer.layers[-1].name == f"{first.name}, largest pieces"
    assert viewer.layers[-1].metadata[METADATA_KEY]["provenance"]["clean_up"]["keep_largest"]


def test_a_result_that_came_out_otherwise_takes_the_place_of_an_unedited_one(viewer, qtbot, widget, found):
    from napari_medseg._qt.result_layers import show_result

    scan = viewer.layers[0]
    show_result(viewer, found, [scan])
    name = viewer.layers[-1].name
    ids = found.labels.data.copy()
    ids[2, 3, 4] = 2
    other = replace(found, labels=replace(found.labels, data=ids), digest="other")
    assert "took the place" in show_result(viewer, other, [scan])
    assert [layer.name for layer in viewer.layers if layer.name.startswith(name)] == [name]
    assert viewer.layers[-1].data.sum() == ids.sum()


def test_the_map_of_doubt_leads_correct_to_the_slice_of_most_doubt(viewer, qtbot, widget, found):
    _run(widget, qtbot)
    doubt = viewer.layers[1]
    assert "doubt" in doubt.name
    assert not doubt.visible
    assert [one.name for one in widget.channels.layers] == ["sample hippocampus"]
    assert widget.channels.lists[0].count() == 1  # the map is no scan
    _, correct = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    assert correct.chooser.scan.layer is viewer.layers[0]
    correct.chooser.button.click()
    viewer.dims.set_current_step(0, 1)
    assert correct.chooser.scan.findText(doubt.name) == -1
    assert correct.tools.slices.maps.layer is doubt
    correct.tools.slices.next_slice.click()
    sums = np.asarray(doubt.data, dtype=np.float64).sum(axis=(1, 2))
    sums[1] = 0
    assert viewer.dims.current_step[0] == int(np.argmax(sums))
    correct.leave(may_cancel=False)


def test_several_selected_images_and_a_choice_of_one_channel_are_pointed_out(viewer, widget):
    widget.models.list.setCurrentIndex(0)
    viewer.open_sample("medseg", "hippocampus")
    assert not widget.channels.hint.isVisibleTo(widget)
    viewer.layers.selection = set(viewer.layers)
    assert "the automatic choice takes one" in widget.channels.hint.text()
    assert widget.channels.hint.isVisibleTo(widget)
    viewer.layers.selection.active = viewer.layers[0]
    assert not widget.channels.hint.isVisibleTo(widget)
