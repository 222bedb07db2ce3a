"""Tables in Markdown, results in JSON, and how cost grows."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers rounded to three figures, None as a dash."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] + ['---:'] * (len(head) - 1))} |"]
    lines += [f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _text(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return str(cell)


def gb(number: float | None) -> float | None:
    """Bytes in GB (10^9)."""
    return None if number is None else number / 1e9


def save(folder: Path, experiment: str, results: Mapping[str, Any]) -> Path:
    """Append one line of JSON to ``<experiment>.jsonl``, with when and on what it was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{experiment}.jsonl"
    entry = {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **machine(), **results}
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
    return path


def machine() -> dict[str, Any]:
    """Processor, the number of them this process may use, and the system."""
    from medseg.inference.backends import usable_processors

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        line = next((x for x in info.read_text().splitlines() if x.startswith("model name")), "")
        name = line.partition(":")[2].strip() or name
    return {"processor": name, "processors": usable_processors(), "system": platform.platform()}


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """p of cost ~ size^p, by least squares on logarithms."""
    slope, _ = np.polyfit(np.log(sizes), np.log(costs), 1)
    return float(slope)


def growth_plot(
    path: Path, by_size: Sequence[Mapping[str, Any]], by_classes: Sequence[Mapping[str, Any]]
) -> None:
    """Time and peak memory against voxels and against classes, all axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col")
    for column, (runs, key, label) in enumerate(
        ((by_size, "voxels", "voxels of the scan"), (by_classes, "classes", "classes"))
    ):
        x = [run[key] for run in runs]
        time_axis, memory_axis = axes[0][column], axes[1][column]
        time_axis.loglog(x, [run["segment_s"] for run in runs], "o-", label="whole engine")
        time_axis.loglog(x, [run["forward_s"] for run in runs], "s--", label="forward passes")
        outside = [run["segment_s"] - run["forward_s"] for run in runs]
        time_axis.loglog(x, outside, "^:", label="everything else")
        time_axis.set_ylabel("seconds")
        memory_axis.loglog(x, [run["engine_peak_bytes"] / 1e9 for run in runs], "o-", label="peak, measured")
        memory_axis.loglog(x, [run["predicted_bytes"] / 1e9 for run in runs], "s--", label="peak, predicted")
        whole = [4e-9 * run["voxels"] * run["classes"] for run in runs]
        memory_axis.loglog(x, whole, "^:", label="float32 logits of the whole scan")
        memory_axis.set_ylabel("GB")
        memory_axis.set_xlabel(label)
    for axis in axes.ravel():
        axis.grid(True, which="major", alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
