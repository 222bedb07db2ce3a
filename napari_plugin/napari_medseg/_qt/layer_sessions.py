"""Which labels layer has a correction session, so that no layer gets two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_medseg.session import CorrectionSession

if TYPE_CHECKING:
    from napari.layers import Labels

_SESSIONS: WeakKeyDictionary[Labels, CorrectionSession] = WeakKeyDictionary()
_KEPT: WeakKeyDictionary[Labels, Path] = WeakKeyDictionary()


def session_of(layer: Labels) -> CorrectionSession | None:
    """The session that watches a layer, if there is one."""
    return _SESSIONS.get(layer)


def set_session(layer: Labels, session: CorrectionSession | None) -> None:
    """From now on a session watches a layer; None ends that."""
    if session is None:
        _SESSIONS.pop(layer, None)
    else:
        _SESSIONS[layer] = session


def kept_of(layer: Labels) -> Path | None:
    """The folder of the session that was kept for later when this layer was left, so that it goes on."""
    folder = _KEPT.get(layer)
    return folder if folder is not None and folder.is_dir() else None


def keep(layer: Labels, folder: Path) -> None:
    """This layer's session waits in a folder."""
    _KEPT[layer] = folder
