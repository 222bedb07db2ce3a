"""Shared fixtures: where the real scans are, and why a test skips without them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadlines, also none for making examples: speed belongs in benchmarks. On CI the same examples every
# time, so that a change is judged by what it changes; elsewhere new ones, which is how faults are found.
_UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", **_UNTIMED)
settings.register_profile("ci", derandomize=True, **_UNTIMED)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# No test leaves compiled networks in the home of whoever runs it.
os.environ.setdefault("MEDSEG_CACHE", "off")

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans: MEDSEG_TEST_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("MEDSEG_TEST_DATA", _DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}: set MEDSEG_TEST_DATA")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: small networks lose more than they gain by waiting for a second."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
