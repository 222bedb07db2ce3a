"""The guard that asks before a window closes."""

from __future__ import annotations

import weakref


def test_a_guard_stops_its_window_until_it_is_released_and_does_not_keep_it(napari, qtbot):
    from napari_medseg._qt.closing import CloseGuard
    from qtpy.QtWidgets import QMainWindow

    window, asked = QMainWindow(), []
    guard = CloseGuard(window, lambda: bool(asked.append("may it close?")))
    window.show()
    assert not window.close()
    guard.release()
    assert window.close()
    assert asked == ["may it close?"]
    gone = weakref.ref(window)
    del window
    assert gone() is None
