"""The part of the segment widget that chooses a model."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from medseg import MedsegError
from napari_medseg.segmenting import ModelChoice, builtin_choices, model_choices, opened_choice


class ModelPicker(QWidget):
    """Models in a list, the scope of the selected one, its card, and buttons to open further ones.

    ``changed`` is emitted when another model is selected, ``failed`` with the error where one does not
    open.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.list = QComboBox()
        self.list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.list.setMinimumContentsLength(12)
        self.scope = QLabel()
        self.scope.setWordWrap(True)
        self.card, self.folder, self.zip = (
            QPushButton("Model card"),
            QPushButton("Folder …"),
            QPushButton("Zip …"),
        )
        self.folder.setToolTip("Open a model from the folder of its bundle")
        self.zip.setToolTip("Open a model from a zip file")
        buttons = QHBoxLayout()
        for button in (self.card, self.folder, self.zip):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list)
        layout.addWidget(self.scope)
        layout.addLayout(buttons)
        self._choices: list[ModelChoice] = []
        self.list.currentIndexChanged.connect(self._show_selected)
        self.card.clicked.connect(self._show_card)
        self.folder.clicked.connect(self._browse_folder)
        self.zip.clicked.connect(self._browse_zip)

    @property
    def choice(self) -> ModelChoice:
        """The selected model."""
        return self._choices[self.list.currentIndex()]

    def load(self) -> None:
        """Fill the list; to be called once ``failed`` is connected."""
        try:
            choices = model_choices()
        except MedsegError as error:  # the user's default model is broken: the others are not
            choices = builtin_choices()
            self.failed.emit(error)
        for choice in choices:
            self._add(choice)

    def open(self, path: str) -> None:
        """Add the model in a folder or zip, and select it."""
        try:
            choice = opened_choice(path)
        except MedsegError as error:
            self.failed.emit(error)
            return
        self._add(choice)
        self.list.setCurrentIndex(self.list.count() - 1)

    def _add(self, choice: ModelChoice) -> None:
        self._choices.append(choice)  # first: the list's signal asks for it
        self.list.addItem(choice.title)

    def _show_selected(self) -> None:
        self.scope.setText(self.choice.scope)
        self.card.setEnabled(self.choice.bundle is not None)
        self.changed.emit()

    def _browse_folder(self) -> None:
        if path := QFileDialog.getExistingDirectory(self, "The folder of a model's bundle"):
            self.open(path)

    def _browse_zip(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "A model's zip file", "", "Models (*.zip)")
        if path:
            self.open(path)

    def _show_card(self) -> None:
        try:
            text = self.choice.card
        except MedsegError as error:  # the card was altered since the bundle was made
            self.failed.emit(error)
            return
        dialog = card_dialog(self.choice.title, text, self)
        dialog.exec()
        dialog.deleteLater()


def card_dialog(title: str, text: str, parent: QWidget | None = None) -> QDialog:
    """A window with a model card, which is Markdown."""
    dialog = QDialog(parent)
    dialog.setWindowTitle(f"medseg: model card of {title}")
    card = QTextBrowser()
    card.setMarkdown(text or "This model has no card.")
    close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    close.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    layout.addWidget(card)
    layout.addWidget(close)
    dialog.resize(640, 640)
    return dialog
