"""The example of docs/statistics.md prints what the page says it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"


def test_the_example_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(
        r"```python\n(.+?)```\n\nprints\n\n```text\n(.+?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert found is not None
    exec(compile(found[1], str(PAGE), "exec"), {})
    assert capsys.readouterr().out == found[2]
