"""Messages of the functions, as the command says them."""

from __future__ import annotations

import pytest

from medseg.cli.console import with_options


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("allow=tilt keeps it so, exactly", "--allow tilt keeps it so, exactly"),
        ("choose with series=N or its UID", "choose with --series N or its UID"),
        ("one with series=1 to series=20, or", "one with --series 1 to --series 20, or"),
        ("give the scan with scan=PATH", "give the scan with --scan PATH"),
        ("exists already; overwrite=True replaces it", "exists already; --overwrite replaces it"),
        ("spacing = 3, disallow=x", "spacing = 3, disallow=x"),
    ],
)
def test_cures_name_options_and_not_keywords(message: str, shown: str) -> None:
    assert with_options(message) == shown
