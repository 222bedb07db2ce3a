"""An editing session that never ends: paints, writes, commands, undo and redo. For `test_kill_session`.

    python tests/acceptance/scripted_session.py SEED LOG

What it does goes to the log, record by record and flushed to the disk: time (float64), kind (byte), array.
Kind 0 is written before an edit, with the array as it is going to be; kind 1 before an undo or redo, with the
array as it is; kind 2 when either is done, with the array as it is then. The time is that of the record.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "napari_plugin"))
from napari_medseg.recovery.sessions import open_session

from medseg import Geometry, LabelMap, LabelSet

SHAPE = (24, 20, 15)
INTENDED, BEFORE_UNDO, DONE = range(3)
RECORD = struct.Struct(f"<dB{int(np.prod(SHAPE))}s")


def main() -> None:
    """Edit until killed."""
    draw = np.random.default_rng(int(sys.argv[1]))
    log = open(sys.argv[2], "wb", buffering=0)  # noqa: PTH123, SIM115 - open until the process is killed
    names = LabelSet.from_names({1: "a", 2: "b", 3: "c"})
    geometry = Geometry(SHAPE, np.diag((-0.8, 1.1, 3.0, 1.0)))
    session = open_session(LabelMap(np.zeros(SHAPE, np.uint8), geometry, names), case=f"case {sys.argv[1]}")
    session.start()
    array = session.array

    def note(kind: int, what: np.ndarray) -> None:
        log.write(RECORD.pack(time.time(), kind, what.tobytes()))
        os.fsync(log.fileno())

    note(DONE, array)
    while True:
        act = draw.choice(["stroke", "write", "command", "undo", "redo"], p=[0.4, 0.2, 0.1, 0.2, 0.1])
        if act in ("undo", "redo"):
            note(BEFORE_UNDO, array)
            session.undo() if act == "undo" else session.redo()
        else:
            corner = [int(draw.integers(0, n - 3)) for n in SHAPE]
            box = tuple(slice(c, c + int(draw.integers(1, 9))) for c in corner)
            value = int(draw.integers(0, 4))
            after = array.copy()
            after[box] = value
            note(INTENDED, after)
            if act == "stroke":
                session.begin_step()
                for plane in range(box[0].start, min(box[0].stop, SHAPE[0])):
                    array[plane, box[1], box[2]] = value
                    session.changed((slice(plane, plane + 1), box[1], box[2]))
                    time.sleep(float(draw.uniform(0, 0.01)))
                session.end_step()
            elif act == "write":
                array[box] = value
            else:
                with session.step():
                    array[box] = value
        note(DONE, array)
        time.sleep(float(draw.choice([0.0, 0.01, 0.05, 0.3], p=[0.4, 0.3, 0.2, 0.1])))


if __name__ == "__main__":
    main()
