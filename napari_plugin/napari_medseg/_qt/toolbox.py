"""The tools of a case that is corrected: groups of buttons that fold, and what each of them does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QLabel, QPushButton, QVBoxLayout, QWidget
from superqt import QCollapsible

from medseg import MedsegError
from napari_medseg._qt.click_modes import CanvasMode
from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_link import LayerLink
from napari_medseg._qt.layer_list import LayerList, is_map
from napari_medseg._qt.limits_panel import LimitsPanel
from napari_medseg._qt.scribble_panel import ScribblePanel
from napari_medseg._qt.shortcuts import key_of
from napari_medseg._qt.tool_panels import LabelPanel, ShapePanel, SlicePanel
from napari_medseg._qt.tool_runner import ToolRunner
from napari_medseg.correction import tools
from napari_medseg.correction.correcting import Place
from napari_medseg.correction.interpolation_reason import why_not_interpolated
from napari_medseg.correction.limits import Limits
from napari_medseg.correction.scribbling import Stroke, accept_text, answer_edit, asked_labels, voxel_changes
from napari_medseg.correction.slices_of_interest import (
    doubt_of_slices,
    next_unseen,
    next_unsure,
    reason_text,
)
from napari_medseg.correction.tools import Job, Tool, Voxel
from napari_medseg.edits import Edit
from napari_medseg.layers import METADATA_KEY
from napari_medseg.results import is_doubt_of
from napari_medseg.scribble.scribbles import Answer

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_UNSEEN = "slices not seen yet"
_CLICK = {
    "keep": "Click the piece to keep.",
    "remove": "Click the piece to remove.",
    "split": "Click the piece that gets an id of its own.",
    "threshold": "Drag to paint within the range; size and label of the brush are napari's.",
}


class Toolbox(QWidget):
    """``said`` is emitted with a sentence, ``failed`` with an error, ``busy`` as by `ToolRunner`."""

    said = Signal(str)
    failed = Signal(object)
    busy = Signal(str)

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._link: LayerLink | None = None
        self._runner: ToolRunner | None = None
        self.mode: CanvasMode | None = None
        self.limits = LimitsPanel(viewer)
        self.shape_tools, self.labels = ShapePanel(), LabelPanel()
        self.slices = SlicePanel(LayerList(viewer, self._may_be_map, _UNSEEN))
        self.scribbles = ScribblePanel(viewer)
        self.threshold = QCheckBox("threshold brush: paint in this range")
        self.threshold.setToolTip("Drags in the canvas paint the selected label where the intensity fits")
        self.selected = QLabel()
        self.selected.setToolTip("Choose it by its number in the layer controls, or press L and click it")
        self._brush_limits = Limits()
        self._layer_events = Connections(self)
        self.groups = self._lay_out()
        self._wire()
        for action, one in self._by_action.items():
            one.setToolTip(f"{one.toolTip()} ({key_of(action)})")

    def start(self, link: LayerLink, suggested: tuple[float, float] | None) -> None:
        """Begin to work on a case; ``suggested`` is an intensity range to begin with."""
        self._link = link
        self._runner, self.mode = ToolRunner(link, self), CanvasMode(link, self)
        self._runner.busy.connect(self.busy)
        self._runner.done.connect(self.said)
        for changes in (self._runner.done, link.edited):
            changes.connect(self._foretell)
        self._runner.failed.connect(self.failed)
        self.mode.changed.connect(self._show_mode)
        self.limits.start(link.layer, link.correction, suggested)
        self.shape_tools.mm.setValue(max(1.0, min(link.correction.grid.geometry.spacing)))
        self.threshold.setEnabled(link.correction.image is not None)
        self.labels.other.setMaximum(int(np.iinfo(link.correction.session.facts.dtype).max))
        self.scribbles.start(link)
        self.slices.maps.refill()
        self.slices.choose_doubt(self._own_doubt(link.layer))
        self._layer_events.add(link.layer.events.selected_label, self._name_labels)
        self._name_labels()

    def take_scan(self, suggested: tuple[float, float] | None) -> None:
        """The case has another scan, or none; ``suggested`` is an intensity range of it."""
        link = self._link
        if link is None:
            return
        there = link.correction.image is not None
        if not there and self.mode is not None and self.mode.name == "threshold":
            self.mode.stop()
        self.limits.take_scan(link.correction, suggested)
        self.threshold.setEnabled(there)
        self.scribbles.take_scan()
        self.slices.maps.refill()

    def end(self) -> None:
        """Leave the case."""
        self._layer_events.drop()
        self.selected.clear()
        self.scribbles.end()
        if self.mode is not None:
            self.mode.end()
        for one in (self._runner, self.mode):
            if one is not None:
                one.deleteLater()
        self._link = self._runner = self.mode = None

    @property
    def is_busy(self) -> bool:
        """Whether a tool is at work."""
        return self._runner is not None and self._runner.is_busy

    @property
    def by_action(self) -> Mapping[str, Callable[[], None]]:
        """What the shortcuts of these actions do."""
        return {name: one.click for name, one in self._by_action.items()}

    @property
    def _by_action(self) -> Mapping[str, QAbstractButton]:
        shape, slices = self.shape_tools, self.slices
        return {
            "smooth": shape.smooth, "grow": shape.grow, "shrink": shape.shrink,
            "fill_holes": shape.fill_holes, "keep": shape.keep, "remove": shape.remove,
            "split": shape.split, "threshold": self.threshold, "interpolate": slices.interpolate,
            "copy_next": slices.copy_next, "copy_previous": slices.copy_previous,
            "next_slice": slices.next_slice, "scribble": self.scribbles.segment,
        }  # fmt: skip

    def job(self) -> Job | None:
        """What the tools are to work on now; None with a word to the person where that is not possible."""
        if self._link is None or not self._take_limits():
            return None
        return self._link.correction.job(
            int(self._link.layer.selected_label),
            self._link.place,
            self.shape_tools.extent,
            self.limits.chosen_over,
        )

    def run(
        self,
        title: str,
        tool: Tool,
        then: Callable[[], None] | None = None,
        why: Callable[[Job], str] | None = None,
    ) -> None:
        """Run a tool on the case; ``then`` and ``why`` as of `ToolRunner`."""
        job = self.job()
        if job is not None and self._runner is not None:
            self._runner.run(title, tool, job, then, why)

    def _interpolate(self) -> None:
        if self._link is not None:
            grid, names = self._link.correction.grid, self._link.correction.session.labels
            why = partial(why_not_interpolated, grid=grid, names=names)
            self.run("Interpolated", tools.interpolate, why=why)

    def _take_limits(self) -> bool:
        link = self._link
        if link is None:
            return False
        try:
            link.correction.limits = self.limits.limits(link.correction)
            if self.threshold.isChecked():
                self._brush_limits = self.limits.limits(link.correction, by_intensity=True)
        except MedsegError as error:
            self.failed.emit(error)
            return False
        return True

    def _copy(self, by: int) -> None:
        if self._link is None:
            return
        link, place = self._link, self._link.place
        target = Place(place.axis, place.index + by * place.onwards, place.onwards)
        where = "next" if by > 0 else "previous"
        self.run(
            f"Copied to the {where} slice",
            partial(tools.copy_to, target=target.index),
            lambda: link.go_to(target),
        )

    def _go_on(self) -> None:
        if self._link is None:
            return
        link, place = self._link, self._link.place
        correction, chosen = link.correction, self.slices.maps.layer
        doubt = None
        seen = correction.seen_across(place.axis)
        try:
            if chosen is None:
                found = next_unseen(correction.session.array, place.axis, place.index, seen)
            else:
                values = correction.grid.to_array(np.asarray(chosen.data))
                doubt = doubt_of_slices(values, place.axis, self.slices.kind.currentData())
                found = next_unsure(doubt, place.index, seen)
        except MedsegError as error:
            self.failed.emit(error)
            return
        if found is None:
            self.said.emit("All slices of interest were seen, in this direction.")
        else:
            link.go_to(Place(place.axis, found, place.onwards))
            last = correction.session.array.shape[place.axis] - 1
            shown = found if place.onwards == 1 else last - found  # as the slider counts
            self.said.emit(reason_text(shown, None if doubt is None else float(doubt[found])))

    def _wait_for_click(self, name: str, on: bool) -> None:
        if self.mode is None or self._link is None:
            return
        if not on:
            if self.mode.name == name:
                self.mode.stop()
            return
        session = self._link.correction.session

        def clicked(voxel: Voxel) -> None:
            if name == "keep":
                self.run("Kept one piece", partial(tools.keep_component, voxel=voxel))
            elif name == "remove":
                self.run("Removed a piece", partial(tools.remove_component, voxel=voxel))
            else:
                self.run(
                    "Split a piece off", partial(tools.split_component, voxel=voxel, names=session.labels)
                )

        self.mode.click(name, clicked)

    def _brush(self, on: bool) -> None:
        if self.mode is None or not self._take_limits():
            return
        if on:
            self.mode.brush("threshold", lambda: self._brush_limits)
        elif self.mode.name == "threshold":
            self.mode.stop()

    def _show_mode(self, name: str) -> None:
        shape = self.shape_tools
        for one, box in (("keep", shape.keep), ("remove", shape.remove), ("split", shape.split),
                         ("threshold", self.threshold)):  # fmt: skip
            box.blockSignals(True)
            box.setChecked(one == name)
            box.blockSignals(False)
        self._take_limits()
        self.said.emit(_CLICK.get(name, ""))

    def _accept(self, answer: Answer, strokes: Sequence[Stroke]) -> None:
        self.run(
            "Segmented from scribbles",
            partial(_answered, answer=answer, strokes=strokes),
            self.scribbles.put_away,
        )

    def _foretell(self, *_: object) -> None:
        """Say what accepting the answer would do to the labels as they are now, within the limits."""
        answer, strokes = self.scribbles.answer, self.scribbles.strokes
        if self._link is None or answer is None or self.is_busy:
            return
        job = self.job()
        if job is None:  # the limits do not hold, which has been said
            self.scribbles.foretell("")
            return
        edit = _answered(job, answer, strokes)
        changes = voxel_changes(job.labels, edit, asked_labels(answer, strokes))
        self.scribbles.foretell(accept_text(changes, self._link.correction.session.labels))

    def _name_labels(self) -> None:
        if self._link is None:
            return
        names = self._link.correction.session.labels

        def name(label: int) -> str:
            return (
                names.background if label == 0 else names[label].name if label in names.ids else "no name yet"
            )

        chosen = int(self._link.layer.selected_label)
        self.selected.setText(f"The tools work on label {chosen}: {name(chosen)}")
        self.labels.other_name.setText(name(self.labels.other.value()))

    def _own_doubt(self, labels: Layer) -> Layer | None:
        """The map of doubt of the run that made these labels, None where there is none."""
        key = labels.metadata.get(METADATA_KEY, {}).get("run")
        found = (one for one in self._viewer.layers if is_doubt_of(one.metadata, key))
        return None if key is None else next(found, None)

    def _may_be_map(self, layer: Layer) -> bool:
        link = self._link
        if link is None or not is_map(layer):
            return False
        correction = link.correction
        same = layer.data.shape == correction.layer_data.shape and correction.grid.is_at(
            layer.scale, layer.translate
        )
        return bool(same) and not np.shares_memory(layer.data, correction.image)

    def _wire(self) -> None:
        shape, slices, labels = self.shape_tools, self.slices, self.labels
        by_mm: tuple[tuple[str, QPushButton, Callable[[Job, float], Edit]], ...] = (
            ("Smoothed", shape.smooth, tools.smooth),
            ("Grown", shape.grow, tools.grow),
            ("Shrunk", shape.shrink, tools.shrink),
        )
        for title, one, tool in by_mm:
            one.clicked.connect(partial(self._run_by_mm, title, tool))
        shape.fill_holes.clicked.connect(lambda: self.run("Filled holes", tools.fill_holes))
        for name, one in (("keep", shape.keep), ("remove", shape.remove), ("split", shape.split)):
            one.toggled.connect(partial(self._wait_for_click, name))
        self.threshold.toggled.connect(self._brush)
        slices.interpolate.clicked.connect(self._interpolate)
        slices.copy_next.clicked.connect(lambda: self._copy(1))
        slices.copy_previous.clicked.connect(lambda: self._copy(-1))
        slices.next_slice.clicked.connect(self._go_on)
        labels.merge.clicked.connect(
            lambda: self.run("Merged", partial(tools.merge_into, other=labels.other.value()))
        )
        labels.swap.clicked.connect(
            lambda: self.run("Swapped", partial(tools.swap_with, other=labels.other.value()))
        )
        labels.other.valueChanged.connect(self._name_labels)
        self.limits.changed.connect(self._take_limits)
        self.limits.changed.connect(self._foretell)
        self.scribbles.answered.connect(self._foretell)
        self.scribbles.accepted.connect(self._accept)
        self.scribbles.failed.connect(self.failed)

    def _run_by_mm(self, title: str, tool: Callable[[Job, float], Edit], *_: object) -> None:
        mm = self.shape_tools.mm.value()
        self.run(title, lambda job: tool(job, mm))

    def _lay_out(self) -> Mapping[str, QCollapsible]:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.limits)
        column.addWidget(self.threshold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.selected)
        made: dict[str, QCollapsible] = {}
        for title, part in (
            ("Shape and pieces", self.shape_tools),
            ("Slices", self.slices),
            ("Scribble to segment", self.scribbles),
            ("Edit only inside, threshold brush", inside),
            ("Merge and swap labels", self.labels),
        ):
            made[title] = QCollapsible(title, expandedIcon="▼", collapsedIcon="▶")
            made[title].setDuration(0)
            made[title].addWidget(part)
            made[title].layout().setContentsMargins(0, 0, 0, 0)
            layout.addWidget(made[title])
        return made


def _answered(job: Job, answer: Answer, strokes: Sequence[Stroke]) -> Edit:
    return answer_edit(job.labels, answer, strokes, where=job.where, over=job.over)
