"""A case of the review queue while it is open in the window: its layers and its correction session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Layer

from napari_medseg._qt.kept_view import KeptView, show_again, view_of
from napari_medseg._qt.layer_sessions import set_session
from napari_medseg.panels.intensity import Limits
from napari_medseg.reviewing.case_loading import LoadedCase, load_case
from napari_medseg.reviewing.review import ReviewQueue

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer


@dataclass(frozen=True, slots=True, eq=False)
class ReadyCase:
    """A case that was read, and its layers, which are in no window yet."""

    loaded: LoadedCase
    layers: tuple[Layer, ...]

    def drop(self) -> None:
        """Let go of a case that is not shown after all."""
        self.loaded.session.close()


def ready_case(queue: ReviewQueue, case_id: str) -> ReadyCase:
    """Read a case and make its layers; to be called in a worker.

    napari's first layer of a process takes seconds, as it loads libraries. No layer needs a window for it.

    Raises
    ------
    NotFound, InputRefused
        As `load_case`.
    """
    loaded = load_case(queue, case_id)
    try:
        return ReadyCase(loaded, tuple(Layer.create(*layer) for layer in loaded.layers))
    except BaseException:
        loaded.session.close()
        raise


class OpenCase:
    """A case's layers in the window, and the session that watches its labels.

    Parameters
    ----------
    viewer
        The window, where the layers are added and the labels selected.
    ready
        The case and its layers.
    view
        What was shown before; None shows the case as it opens.

    Attributes
    ----------
    decided
        Whether it was saved, or its status set.
    discard
        Whether edits that were not saved may go when it is closed.
    """

    def __init__(self, viewer: Viewer, ready: ReadyCase, view: KeptView | None) -> None:
        self._viewer = viewer
        self.loaded = loaded = ready.loaded
        self.session = loaded.session
        self.decided = self.discard = False
        self._own: tuple[Limits, ...] = tuple(
            options["contrast_limits"] for _, options, _ in loaded.layers if "contrast_limits" in options
        )
        self.layers: Sequence[Layer] = ready.layers
        for layer in self.layers:
            viewer.add_layer(layer)
        if view is not None:
            show_again(viewer, view, self.layers, self._own)
        viewer.layers.selection.active = self.labels
        set_session(self.labels, self.session)  # the correction widget joins it, and leaves it to us
        self.session.start()

    @property
    def id(self) -> str:
        """The case's name."""
        return self.loaded.case.id

    @property
    def labels(self) -> Labels:
        """The layer that is corrected."""
        return self.layers[-1]

    @property
    def is_modified(self) -> bool:
        """Whether there are edits that were not saved."""
        self.session.sync(everything=True)
        return self.session.is_modified

    def view(self) -> KeptView | None:
        """What the window shows of the case; see `view_of`."""
        there = [layer for layer in self.layers if layer in self._viewer.layers]
        return view_of(self._viewer, there, self._own) if len(there) == len(self.layers) else None

    def close(self) -> None:
        """End the session, and take the layers out of the window.

        Edits that were not saved stay on the disk and come back with the case, unless ``discard`` is set.
        """
        self.session.close(discard=self.discard)
        for layer in self.layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        set_session(self.labels, None)  # last: the correction widget leaves a layer as it found it
