"""How long the napari plugin takes to load, once napari itself is there.

napari reads the manifest when it starts, and loads a command's module when the command is first used. Each
module of the manifest is loaded in turn, in a process of its own that has imported napari; printed is the
median of several processes, in seconds of processor time and of the clock.

    xvfb-run -a python benchmarks/plugin_loading.py [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import napari_medseg
import yaml

_LOAD = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import napari, napari.layers, napari.qt
sys.path.insert(0, sys.argv[1])
from importlib import import_module
found = {}
for name in sys.argv[2:]:
    start = time.process_time(), time.perf_counter()
    import_module(name)
    found[name] = time.process_time() - start[0], time.perf_counter() - start[1]
print(json.dumps(found))
"""


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    root = Path(napari_medseg.__file__).parent
    manifest = yaml.safe_load((root / "napari.yaml").read_text(encoding="utf-8"))
    commands = manifest["contributions"]["commands"]
    names = list(dict.fromkeys(command["python_name"].partition(":")[0] for command in commands))
    call = [sys.executable, "-c", _LOAD, str(root.parent), *names]
    found = [
        json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
        for _ in range(runs)
    ]
    print("| module | processor s | clock s |\n| --- | ---: | ---: |")
    for name in names:
        cpu, clock = (statistics.median(one[name][n] for one in found) for n in (0, 1))
        print(f"| {name} | {cpu:.3f} | {clock:.3f} |")
    cpu, clock = (statistics.median(sum(x[n] for x in one.values()) for one in found) for n in (0, 1))
    print(f"| all | {cpu:.3f} | {clock:.3f} |")


if __name__ == "__main__":
    main()
