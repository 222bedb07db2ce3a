"""What the correction session of the napari plugin costs on a large label map.

    python benchmarks/session_cost.py [--shape 512 512 300] [--strokes 200]

Measured on an array that lies in memory as NIfTI has it: the calling thread's time for `changed` (with a
brush's box, while the session's thread is at work), `begin_step` and `end_step`; how far the session's thread
holds up another one, as the time of a fixed piece of Python work beside it, and alone before and after; a
full comparison; one stroke recorded, until it is on the disk; undo of a stroke; an edit of a tenth of the
array; opening, saving, recovering; and the process's peak memory beyond the array. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "napari_plugin"))
from napari_medseg.recovery.sessions import open_session, recover, unfinished_sessions
from napari_medseg.session import CorrectionSession

from medseg import Geometry, LabelMap, LabelSet

BRUSH = (20, 20, 1)


def labels(shape: tuple[int, int, int]) -> LabelMap:
    """Five balls in an empty scan: labels are mostly background and smooth."""
    data = np.zeros(shape, np.uint8, order="F")
    i, j = np.ogrid[: shape[0], : shape[1]]
    for k in range(shape[2]):  # plane by plane: the peak of memory is to be the array's
        for n in range(1, 6):
            x, y, z = (size * n / 6 for size in shape)
            data[..., k][(i - x) ** 2 + (j - y) ** 2 + (k - z) ** 2 < (min(shape) / 7) ** 2] = n
    names = LabelSet.from_names({n: f"ball {n}" for n in range(1, 6)})
    return LabelMap(data, Geometry(shape, np.diag((0.8, 0.8, 1.5, 1.0))), names)


def milliseconds(call: Callable[[], object], repeats: int = 1) -> list[float]:
    """Wall time of each call."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def summary(taken: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    ordered = sorted(taken)
    return {
        "median_ms": round(statistics.median(ordered), 4),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 4),
    }


def peak_mb() -> float:
    """The most memory that the process has had, in MB of 1e6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def python_work() -> None:
    """A fixed piece of work that needs the interpreter, as painting in napari does."""
    sum(n * n for n in range(60_000))


def paint(session: CorrectionSession, strokes: int) -> dict[str, list[float]]:
    """Strokes of ten dabs each, at the pace of a hand."""
    draw = np.random.default_rng(0)
    taken: dict[str, list[float]] = {"changed": [], "begin_step": [], "end_step": []}
    for _ in range(strokes):
        taken["begin_step"] += milliseconds(session.begin_step)
        corner = [int(draw.integers(0, n - 40)) for n in session.array.shape]
        for dab in range(10):
            box = tuple(slice(c + dab, c + dab + b) for c, b in zip(corner, BRUSH, strict=True))
            session.array[box] = draw.integers(1, 6)
            taken["changed"] += milliseconds(lambda box=box: session.changed(box))
            time.sleep(0.004)
        taken["end_step"] += milliseconds(session.end_step)
    return taken


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--strokes", type=int, default=200)
    options = parser.parse_args()
    labelmap = labels(tuple(options.shape))
    array = labelmap.data
    results: dict[str, object] = {"shape": list(array.shape), "array_mb": array.nbytes / 1e6}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        before_mb = peak_mb()
        opened: list[CorrectionSession] = []
        results["open"] = summary(
            milliseconds(lambda: opened.append(open_session(labelmap, case="big", root=root)))
        )
        (session,) = opened
        results["python_work_alone"] = summary(milliseconds(python_work, 500))
        results["full_comparison"] = summary(milliseconds(lambda: session.sync(everything=True), 30))

        box = (slice(60, 100), slice(60, 100), slice(50, 51))

        def stroke() -> None:
            array[box] ^= 1
            session.changed(box)
            session.sync()

        results["stroke_recorded"] = summary(milliseconds(stroke, 50))
        session.start()
        results["python_work_beside_an_idle_session"] = summary(milliseconds(python_work, 500))
        for name, taken in paint(session, options.strokes).items():
            results[name] = summary(taken)
        results["peak_beyond_array_after_painting_mb"] = round(peak_mb() - before_mb, 1)
        results["undo_stroke"] = summary(milliseconds(session.undo, min(20, options.strokes // 2)))

        def large() -> None:
            array[:, :, : array.shape[2] // 10] ^= 3
            session.sync(everything=True)

        results["a_tenth_of_the_array_changed"] = summary(milliseconds(large, 1))
        results["undo_of_that"] = summary(milliseconds(session.undo, 1))
        results["peak_beyond_array_after_a_large_edit_mb"] = round(peak_mb() - before_mb, 1)
        results["journal_mb"] = round((session.folder / "journal").stat().st_size / 1e6, 2)
        results["save"] = summary(milliseconds(lambda: session.save(root / "out.nii.gz")))
        results["peak_beyond_array_after_saving_mb"] = round(peak_mb() - before_mb, 1)
        session.undo()
        session.close()
        results["python_work_alone_again"] = summary(milliseconds(python_work, 500))
        results["list_unfinished"] = summary(milliseconds(lambda: unfinished_sessions(root)))
        kept = array.copy()
        again: list[CorrectionSession] = []
        results["recover"] = summary(milliseconds(lambda: again.append(recover(session.folder))))
        if not np.array_equal(again[0].array, kept):
            raise SystemExit("the recovered array is not the one that was painted")
        again[0].close(discard=True)
    for name, value in results.items():
        print(f"{name:45s} {value}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
