"""Shared fixtures: where the real scans are, and why a test skips without them."""

from __future__ import annotations

import os
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

_HERE = Path(__file__).resolve().parent
_DEFAULT = _HERE.parents[1] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """pytest-xdist's own marker, known also where it is not installed."""
    config.addinivalue_line("markers", "xdist_group(name): tests that one process runs")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests (``-n 2 --dist loadgroup``), a file stays with one of them,
    since its fixtures are dear, and so do all that open windows: they share one screen.
    """
    for item in items:
        windows = "napari" in item.path.relative_to(_HERE).parts
        item.add_marker(pytest.mark.xdist_group("windows" if windows else str(item.path)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans: MEDSEG_TEST_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("MEDSEG_TEST_DATA", _DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}: set MEDSEG_TEST_DATA")
    return folder
