"""What a scan will take is said beforehand, and what does not fit waits on disk or is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psutil
import pytest

from medseg.inference.process_memory import available_memory, peak_memory, used_memory

# A network that costs nothing, so that what is measured is the engine: its logits are made once.
SCAN = """
    import json, sys
    import numpy as np
    from medseg.geometry import Geometry
    from medseg.inference import Member, segment
    from medseg.inference.process_memory import peak_memory
    from medseg.labels import LabelSet
    from medseg.plans import Plan, labels_as_specs
    from medseg.volume import Volume

    classes, patch, spacing, limit, sums, earlier = json.loads(sys.argv[1])
    np.ones(earlier, np.uint8)  # held, and given back
    names = {n: f"structure {n}" for n in range(1, classes)}
    plan = Plan.checked({
        "name": "toy", "dimensions": 3, "channels": [{"name": "t1"}],
        "labels": labels_as_specs(LabelSet.from_names(names)), "patch": (patch,) * 3,
        "grid": {"spacing_mm": (spacing,) * 3},
        "network": {"strides": ((1, 1, 1),) * 3, "features": (1, 1, 1), "deep_supervision": 0},
    })

    class Network:
        name, batch_size, settings = "toy", 1, {"threads": 2}
        logits = np.random.default_rng(0).normal(size=(1, classes, patch, patch, patch)).astype(np.float32)
        def __call__(self, batch): return self.logits
        def activation_bytes(self): return 0

    shape = (160, 150, 140)
    data = np.random.default_rng(1).integers(0, 100, size=shape, dtype=np.int16)
    found = segment(Volume(data[None], Geometry(shape, np.eye(4))), [Member(plan, Network())],
                    max_memory=limit, sums=sums)
    print(json.dumps({"place": found.memory.place, "sums": found.memory.sums,
                      "predicted": found.memory.predicted_bytes, "measured": peak_memory(),
                      "ids": int(found.ids.astype(np.int64).sum()), "first": found.ids[:9, 7, 5].tolist()}))
"""


def segmented(
    classes: int,
    patch: int,
    spacing: float = 1.0,
    limit: int | None = None,
    sums: str = "auto",
    earlier: int = 0,
) -> dict[str, object]:
    """Place, precision, predicted and measured bytes, and a trace of the labels, in a process of its own."""
    arguments = json.dumps([classes, patch, spacing, limit, sums, earlier])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCAN), arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="measured where the peak of a process is told exactly")
@pytest.mark.parametrize(
    ("classes", "patch", "spacing"), [(60, 48, 1.0), (60, 48, 1.5), (24, 96, 1.0), (3, 64, 0.8)]
)
def test_the_predicted_peak_is_within_a_fifth_of_the_measured_one(
    classes: int, patch: int, spacing: float
) -> None:
    found = segmented(classes, patch, spacing)
    assert found["place"] == "memory"
    assert abs(found["predicted"] / found["measured"] - 1) < 0.2, found


def test_what_the_process_took_and_gave_back_before_counts_against_no_limit() -> None:
    free = segmented(3, 64)
    assert segmented(3, 64, limit=free["predicted"] * 2, earlier=free["predicted"] * 3)["place"] == "memory"


def test_less_memory_sends_sums_to_disk_and_changes_no_label() -> None:
    free = segmented(60, 48)
    tight = segmented(60, 48, limit=int(free["predicted"] * 0.7))
    assert (free["place"], tight["place"]) == ("memory", "disk")
    assert tight["measured"] < 0.8 * free["measured"]
    assert (tight["ids"], tight["first"]) == (free["ids"], free["first"])


def test_half_precision_is_there_for_the_asking() -> None:
    whole, half = segmented(60, 48), segmented(60, 48, sums="f16")
    assert (half["place"], half["sums"]) == ("memory", "f16")
    assert half["measured"] < 0.85 * whole["measured"]


def test_memory_in_use_is_what_psutil_says() -> None:
    block = np.ones(60_000_000, np.uint8)
    assert abs(used_memory() - psutil.Process().memory_info().rss) < 0.2 * used_memory()
    assert peak_memory() >= used_memory() - 10**6
    available = available_memory()
    assert available is None or 0 < available <= psutil.virtual_memory().total
    assert block[0] == 1


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="Linux")
def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medseg.inference import process_memory

    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 200000\n")
    monkeypatch.setattr(process_memory, "_CGROUP", tmp_path)
    assert available_memory() == 500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 10**6
