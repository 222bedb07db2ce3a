"""The reference of files names every reason that the readers give, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# How a code stands in the source: beside the path in a refusal, in a verdict, by keyword, alone in a reason.
_GIVEN = re.compile(
    r"""(?:refused\(\s*(?:self\.)?(?:\w+(?:\.path)?,\s*)|Verdict\.of\(\s*"\w+",\s*|code=|Reason\(\s*)"([a-z][a-z-]+)\""""
)


def _documented() -> set[str]:
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8").split("\n## Reasons\n")[1]
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {code for cell in cells for code in re.findall(r"`([a-z-]+)`", cell)}


def _words_of_the_source() -> str:
    return "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "medseg" / "io").rglob("*.py"))
    )


def test_every_reason_is_in_the_reference() -> None:
    given = set(_GIVEN.findall(_words_of_the_source()))
    assert len(given) > 40
    assert not given - _documented()


def test_the_reference_names_no_reason_that_is_never_given() -> None:
    source = _words_of_the_source()
    assert not {code for code in _documented() if f'"{code}"' not in source}
