"""The part of the segment widget with the options of a run."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QGroupBox, QSizePolicy, QWidget

from napari_medseg.run_options import DOUBT_VOXELS, CleanUp, RunOptions
from napari_medseg.segmenting import devices

_DOUBT: tuple[tuple[str, bool | None], ...] = (("small scans only", None), ("yes", True), ("no", False))


class RunOptionsBox(QGroupBox):
    """Device, overlap of windows, averaging over mirrored copies, the map of doubt, and clean-up."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Options", parent)
        self.device = QComboBox()
        self.device.addItems(devices())
        self.overlap = QDoubleSpinBox()
        self.overlap.setRange(-0.05, 0.9)
        self.overlap.setSingleStep(0.05)
        self.overlap.setSpecialValueText("the model's own")
        self.overlap.setValue(self.overlap.minimum())
        self.overlap.setToolTip("Overlap of neighbouring windows: more is smoother and slower")
        self.tta = QCheckBox("average over mirrored copies (slower)")
        self.tta.setToolTip("Test-time augmentation over the flips that the model allows")
        self.doubt = QComboBox()
        for text, value in _DOUBT:
            self.doubt.addItem(text, value)
        self.doubt.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.doubt.setToolTip(
            "A hidden layer that says where the model is unsure; in Correct, under Slices, it leads to the "
            "slice of the most doubt. Takes memory: 6 bytes a voxel while it is made, 2 then. A scan up to "
            f"{DOUBT_VOXELS / 1e6:.0f} million voxels is small"
        )
        self.largest = QCheckBox("only each structure's largest piece")
        self.largest.setToolTip("For structures of one piece. Faces, edges and corners hold pieces together")
        self.smallest = QDoubleSpinBox()
        self.smallest.setRange(0, 1e6)
        self.smallest.setDecimals(0)
        self.smallest.setSingleStep(10)
        self.smallest.setSuffix(" mm³")
        self.smallest.setSpecialValueText("none")
        self.smallest.setToolTip("Remove pieces of a structure that are smaller than this")
        form = QFormLayout(self)
        form.addRow("Device", self.device)
        form.addRow("Overlap", self.overlap)
        form.addRow(self.tta)
        form.addRow("Doubt map", self.doubt)
        form.addRow(self.largest)
        form.addRow("Remove below", self.smallest)

    @property
    def chosen(self) -> RunOptions:
        """What is set now."""
        own = self.overlap.value() < 0
        return RunOptions(
            device=self.device.currentText(),
            overlap=None if own else self.overlap.value(),
            tta=self.tta.isChecked(),
            doubt=self.doubt.currentData(),
            clean_up=CleanUp(self.largest.isChecked(), self.smallest.value()),
        )
