"""Who decides: a name that is asked for once, and remembered."""

from __future__ import annotations

from qtpy.QtWidgets import QInputDialog, QLineEdit, QWidget

from napari_medseg._qt.remembered import remember, remembered

_KEY = "who"


class WhoField(QLineEdit):
    """Free text; what was written here stands there again in the next window."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._asked = False
        self.setPlaceholderText("your name or initials")
        self.setToolTip("Kept with every decision, and beside every corrected segmentation")
        self.setText(remembered(_KEY))
        self.editingFinished.connect(lambda: remember(_KEY, self.text().strip()))

    @property
    def name(self) -> str | None:
        """What is written; None for nothing."""
        return self.text().strip() or None

    def ask_once(self) -> None:
        """Ask for the name if there is none. Whoever gives none is not asked again in this window."""
        if self.name is not None or self._asked:
            return
        self._asked = True
        name, given = QInputDialog.getText(
            self,
            "medseg: who decides?",
            "Your name or initials, kept with every decision.\nCancel goes on without, for good.",
        )
        if given and name.strip():
            self.setText(name.strip())
            remember(_KEY, name.strip())
