"""The legend of a picture: colour, name and size of each label, in as many columns as fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medseg.labels import Label
from medseg.report.drawing import FAINT, rgb, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW = 0.24  # inches
_CHARACTER = 0.075  # inches, of the text's size, on average and a little more


@dataclass(frozen=True, slots=True)
class Legend:
    """Entries, each a label and a text such as its volume, laid out in a width of so many inches."""

    entries: Sequence[tuple[Label, str]]
    width: float

    @property
    def height(self) -> float:
        """Inches; one row where there are no entries."""
        return self._rows * _ROW

    @property
    def _entry_width(self) -> float:
        texts = (len(shortened(label.name)) + len(text) for label, text in self.entries)
        return min(0.55 + _CHARACTER * max(texts, default=0), self.width)

    @property
    def _rows(self) -> int:
        columns = max(1, int(self.width // self._entry_width))
        return max(1, -(-len(self.entries) // columns))

    def draw(self, axes: Axes) -> None:
        """Fill axes of this width and height, column by column; nothing is drawn without entries."""
        if not self.entries:
            return
        columns = -(-len(self.entries) // self._rows)
        step = min(self.width / columns, self._entry_width + 0.3)
        for n, (label, text) in enumerate(self.entries):
            left = n // self._rows * step
            y = 1 - (n % self._rows + 0.5) / self._rows
            axes.plot(
                (left + 0.06) / self.width,
                y,
                transform=axes.transAxes,
                marker="s",
                markersize=8,
                color=rgb(label.colour),
            )
            write(axes, (left + 0.2) / self.width, y, shortened(label.name), va="center")
            right = (left + self._entry_width - 0.2) / self.width
            write(axes, right, y, text, color=FAINT, va="center", ha="right")


def shortened(name: str, length: int = 44) -> str:
    """A name of at most so many characters, an ellipsis for the rest."""
    return name if len(name) <= length else name[: max(length, 2) - 1] + "…"
