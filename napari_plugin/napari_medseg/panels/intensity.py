"""Intensity windows: the usual ones of CT, and one taken from the scan itself. No Qt, no viewer."""

from __future__ import annotations

from dataclasses import dataclass

from medseg import Volume
from medseg.report.drawing import display_window

Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class IntensityWindow:
    """A range of intensities that is shown from black to white, as radiologists name it.

    Parameters
    ----------
    name
        What it is for.
    level, width
        Centre and extent in the scan's units; HU for CT.
    """

    name: str
    level: float
    width: float

    @property
    def limits(self) -> Limits:
        """What is black, and what is white."""
        return self.level - self.width / 2, self.level + self.width / 2


# Widths and levels of radiopaedia.org/articles/windowing-ct; soft tissue as medseg's pictures show it.
CT_WINDOWS = (
    IntensityWindow("Soft tissue", 40, 400),
    IntensityWindow("Lung", -600, 1500),
    IntensityWindow("Bone", 400, 1800),
    IntensityWindow("Brain", 40, 80),
)


def windows_for(volume: Volume) -> tuple[IntensityWindow, ...]:
    """The windows to choose from for a scan of one channel, the one it opens with first.

    For CT `CT_WINDOWS`; for other scans the percentiles 0.5 and 99.5 of their own intensities.
    """
    low, high = display_window(volume)
    # display_window alone decides what is CT (the file may not say so), and gives every CT the same window.
    if (low, high) == CT_WINDOWS[0].limits:
        return CT_WINDOWS
    return (IntensityWindow("From the scan", (low + high) / 2, high - low),)
