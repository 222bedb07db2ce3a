"""The streaming engine against the plain computation, thousands of times and never the same ones twice.

CI takes a hundred examples, always the same. ``MEDSEG_EXAMPLES_TIMES=100`` takes a night.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_thousands_of_examples() -> None:
    environment = {"MEDSEG_EXAMPLES_TIMES": "20", **os.environ}
    environment.pop("CI", None)  # there examples repeat
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/inference/test_equality.py"],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout[-8000:]
