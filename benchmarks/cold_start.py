"""How long a cold `medseg infer` takes, beside what it is compared with, in one run.

    python benchmarks/cold_start.py SCAN [-m MODEL] [--repeats 9] [--scans 60]

Measured from process start to process end, in rounds of one of each, so that a busy computer slows all
alike; the first round, which fills the file cache, is not counted. Printed: medians, and two ratios,
`medseg infer` to `import monai` (wanted: 0.3 or less) and `medseg --help` to `import torch` (0.25 or
less). With --scans also the seconds per scan of one call on that many copies of the scan.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PYTHON = sys.executable


def medseg() -> list[str]:
    """The installed command of this environment, or the module where it is not installed."""
    script = Path(PYTHON).with_name("medseg.exe" if sys.platform == "win32" else "medseg")
    return [str(script)] if script.is_file() else [PYTHON, "-m", "medseg.cli.app"]


def seconds(command: list[str]) -> float:
    """Wall seconds of one process, which must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return taken


def infer(scans: list[Path], model: str | None, out: Path, *options: str) -> list[str]:
    """The command line that segments scans into a folder."""
    named = [] if model is None else ["-m", model]
    return [*medseg(), "infer", *map(str, scans), *named, "-o", str(out), "--quiet", *options]


def cold_starts(scan: Path, model: str | None, repeats: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of each command, one after the other in every round."""
    taken: dict[str, list[float]] = {}
    for number in range(repeats + 1):
        out = folder / f"out{number}"
        commands = {
            "medseg infer": infer([scan], model, out),
            "import monai": [PYTHON, "-c", "import monai"],
            "medseg --help": [*medseg(), "--help"],
            "import torch": [PYTHON, "-c", "import torch"],
        }
        for name, command in commands.items():
            wall = seconds(command)
            if number:
                taken.setdefault(name, []).append(wall)
        if not list(out.glob("*_seg.nii.gz")):
            raise SystemExit(f"medseg infer wrote no segmentation into {out}")
    return taken


def many_scans(scan: Path, model: str | None, count: int, folder: Path) -> float:
    """Seconds per scan of one call on copies of a scan, start of the process included."""
    ending = "".join(scan.suffixes)
    copies = [Path(shutil.copy(scan, folder / f"copy{n:03d}{ending}")) for n in range(count)]
    wall = seconds(infer(copies, model, folder / "many"))
    written = len(list((folder / "many").glob("*_seg.nii.gz")))
    if written != count:
        raise SystemExit(f"{written} segmentations for {count} scans")
    return wall / count


def main() -> None:
    """Run the comparison and print it; the last line is one JSON document."""
    parser = argparse.ArgumentParser(description="Cold start of medseg infer.")
    parser.add_argument("scan", type=Path)
    parser.add_argument("-m", "--model")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--scans", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        taken = cold_starts(arguments.scan, arguments.model, arguments.repeats, folder)
        per_scan = (
            many_scans(arguments.scan, arguments.model, arguments.scans, folder) if arguments.scans else None
        )
    median = {name: statistics.median(walls) for name, walls in taken.items()}
    for name, walls in taken.items():
        print(f"{name:<14} median {median[name]:.3f} s, {min(walls):.3f} to {max(walls):.3f} s")
    ratios = {
        "infer_to_import_monai": median["medseg infer"] / median["import monai"],
        "help_to_import_torch": median["medseg --help"] / median["import torch"],
    }
    print(f"infer / import monai  {ratios['infer_to_import_monai']:.3f}")
    print(f"help / import torch   {ratios['help_to_import_torch']:.3f}")
    if per_scan is not None:
        print(f"{arguments.scans} scans in one call: {per_scan:.3f} s per scan")
    print(json.dumps({"median_s": median, **ratios, "s_per_scan": per_scan, "rounds": arguments.repeats}))


if __name__ == "__main__":
    main()
