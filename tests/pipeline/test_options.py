"""What people may ask for, and how much memory a text means."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import NotFound, UsageError
from medseg.pipeline import InferOptions
from medseg.pipeline.options import memory_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4GB", 4_000_000_000),
        ("1.5 mb", 1_500_000),
        ("2GiB", 2**31),
        ("5000000", 5_000_000),
        ("7k", 7000),
        (None, None),
        (3, 3),
    ],
)
def test_memory_is_read_in_the_units_people_write(text: str | int | None, count: int | None) -> None:
    assert memory_bytes(text) == count


@pytest.mark.parametrize("text", ["4", "512", 3e8])
def test_a_lone_small_number_is_asked_for_its_unit_and_a_float_for_a_whole_one(text: object) -> None:
    with pytest.raises(UsageError, match=r"4GB|512GB|whole number"):
        memory_bytes(text)


@pytest.mark.parametrize("text", ["four", "4XB", "-4GB", "", "4i", "4iB"])
def test_what_is_no_memory_says_what_would_be(text: str) -> None:
    with pytest.raises(UsageError, match="4GB or 512MB"):
        memory_bytes(text)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match=r"overlap 1\.0: expected at least 0 and less than 1"):
        InferOptions(overlap=1.0)
    with pytest.raises(UsageError, match="max_memory 0"):
        InferOptions(max_memory=0)
    with pytest.raises(UsageError, match="sums 'f64': expected one of auto, f32, f16"):
        InferOptions(sums="f64")


def test_scratch_is_the_option_else_the_environments_else_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDSEG_SCRATCH", raising=False)
    assert InferOptions().scratch_folder is None
    monkeypatch.setenv("MEDSEG_SCRATCH", str(tmp_path))
    assert InferOptions().scratch_folder == tmp_path
    (tmp_path / "mine").mkdir()
    assert InferOptions(scratch=tmp_path / "mine").scratch_folder == tmp_path / "mine"
    with pytest.raises(NotFound, match="nowhere"):
        InferOptions(scratch=tmp_path / "nowhere")
    monkeypatch.setenv("MEDSEG_SCRATCH", str(tmp_path / "gone"))
    with pytest.raises(NotFound, match="gone"):
        InferOptions()
