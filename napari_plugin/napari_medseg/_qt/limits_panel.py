"""Edit only inside: a label, an intensity range, a region."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QHBoxLayout, QLabel, QSpinBox, QWidget

from medseg import UsageError
from napari_medseg._qt.layer_list import LayerList, is_labels
from napari_medseg.correction.correcting import Correction
from napari_medseg.correction.limits import Limits
from napari_medseg.editing.arguments import Over

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.viewer import Viewer


class LimitsPanel(QWidget):
    """What `Limits` and ``over`` are made of. ``changed`` is emitted when a person changes any of it."""

    changed = Signal()

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layer: Labels | None = None
        self.in_label, self.label = QCheckBox("label"), QSpinBox()
        self.in_label.setToolTip("Only voxels that have this label may change; 0 is background")
        self.label.setRange(0, 65535)
        self.in_range, self.low, self.high = QCheckBox("intensity"), _number(), _number()
        self.in_range.setToolTip("Only voxels whose intensity in the scan lies in this range may change")
        self.in_region = QCheckBox("region")
        self.in_region.setToolTip("Only where another labels layer is painted")
        self.region = LayerList(viewer, self._may_be_region)
        self.region.setPlaceholderText("no other labels layer")
        self.over = QCheckBox("tools may paint over other labels")
        self.over.setToolTip("Else they take background only; napari's brush has preserve labels for that")
        self._lay_out()
        for box in (self.in_label, self.in_range, self.in_region, self.over):
            box.toggled.connect(self.changed)
        for spin in (self.label, self.low, self.high):
            spin.valueChanged.connect(self.changed)
        self.region.changed.connect(self.changed)

    def start(self, layer: Labels, correction: Correction, suggested: tuple[float, float] | None) -> None:
        """Offer what can be chosen for a case; nothing is limited at first."""
        self._layer = layer
        for box in (self.in_label, self.in_range, self.in_region):
            box.setChecked(False)
        self.take_scan(correction, suggested)
        self.label.setMaximum(int(np.iinfo(correction.session.facts.dtype).max))
        self.region.refill()

    def take_scan(self, correction: Correction, suggested: tuple[float, float] | None) -> None:
        """The case has another scan, or none: then no intensity limits it. ``suggested`` is a range of it."""
        there = correction.image is not None
        if not there:
            self.in_range.setChecked(False)
        for one in (self.in_range, self.low, self.high):
            one.setEnabled(there)
        if suggested is not None:
            self.low.setValue(suggested[0])
            self.high.setValue(suggested[1])

    @property
    def chosen_over(self) -> Over:
        """Which voxels tools may take."""
        return "all" if self.over.isChecked() else "background"

    @property
    def intensity(self) -> tuple[float, float]:
        """The range of the two fields, the lower end first."""
        low, high = self.low.value(), self.high.value()
        return min(low, high), max(low, high)

    def limits(self, correction: Correction, *, by_intensity: bool = False) -> Limits:
        """What is chosen; ``by_intensity`` has the range count whether it is ticked or not.

        Raises
        ------
        UsageError
            If the region lies on another grid, or is asked for and there is none.
        """
        ranged = by_intensity or self.in_range.isChecked()
        region = None
        if self.in_region.isChecked():
            layer = self.region.layer
            if layer is None:
                raise UsageError("edit only inside a region: there is no other labels layer to be one")
            if layer.data.shape != correction.layer_data.shape or not correction.grid.is_at(
                layer.scale, layer.translate
            ):
                raise UsageError(f"{layer.name}: a region must lie on the grid of the labels")
            region = correction.grid.to_array(np.asarray(layer.data))
        return Limits(
            inside_label=self.label.value() if self.in_label.isChecked() else None,
            intensity=self.intensity if ranged else None,
            image=correction.image,
            region=region,
        )

    def _may_be_region(self, layer: Layer) -> bool:
        return is_labels(layer) and layer is not self._layer

    def _lay_out(self) -> None:
        values = QHBoxLayout()
        values.addWidget(self.low)
        values.addWidget(QLabel("to"))
        values.addWidget(self.high)
        for spin in (self.low, self.high):
            values.setStretchFactor(spin, 1)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(self.in_label, self.label)
        form.addRow(self.in_range, values)
        form.addRow(self.in_region, self.region)
        form.addRow(self.over)


def _number() -> QDoubleSpinBox:
    made = QDoubleSpinBox()
    made.setRange(-1e6, 1e6)
    made.setDecimals(1)
    made.setMinimumWidth(60)
    return made
