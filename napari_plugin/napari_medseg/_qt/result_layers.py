"""The layers of a run's result: added, or the earlier ones taken where nothing is new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari.layers import Labels

from napari_medseg.layers import METADATA_KEY
from napari_medseg.results import (
    RunKey,
    RunResult,
    doubt_layer,
    is_doubt_of,
    is_result_of,
    is_unedited,
    result_layer,
    result_name,
)

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_SAME = "The labels of the run before were not edited and are the same: no further layer."
_REPLACED = "It took the place of the run before, which was not edited."
_BESIDE = "The labels of the run before were edited: they stay, and these are a layer of their own."


def show_result(viewer: Viewer, result: RunResult, scans: Sequence[Layer]) -> str:
    """Put a result into the window and select its labels; returns what became of an earlier run's, or "".

    A run of the same model with the same options on the same scan gives no second layer as long as nobody
    edited the first.

    Parameters
    ----------
    viewer
        The window.
    result
        Of the run.
    scans
        The image layers that were segmented; the first one gives its name.
    """
    key = result.key([str(layer.unique_id) for layer in scans])
    before = [one for one in viewer.layers if isinstance(one, Labels) and is_result_of(one.metadata, key)]
    unedited = next((one for one in before if is_unedited(one.data, one.metadata)), None)
    _add_doubt(viewer, result, key, scans[0].name)
    if unedited is not None and unedited.metadata[METADATA_KEY]["digest"] == result.digest:
        viewer.layers.selection.active = unedited
        return _SAME
    name = result_name(scans[0].name, result, [one.name for one in viewer.layers if one is not unedited])
    data, options, _ = result_layer(result, key, name)
    layer = viewer.add_labels(data, **options)
    if unedited is None:
        return _BESIDE if before else ""
    viewer.layers.remove(unedited)
    layer.name = name
    return _REPLACED


def _add_doubt(viewer: Viewer, result: RunResult, key: RunKey, scan: str) -> None:
    made = doubt_layer(result, key, f"doubt: {scan} {result.model}")
    if made is not None and not any(is_doubt_of(layer.metadata, key) for layer in viewer.layers):
        data, options, _ = made
        viewer.add_image(data, **options)
