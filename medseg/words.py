"""Numbers and names in sentences."""

from __future__ import annotations

from collections.abc import Mapping


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural but for 1: ``1 case``, ``0 cases``, ``1,234 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def with_counts(counts: Mapping[str, int]) -> str:
    """Names in alphabetical order, each with its count: ``T1w (2), T2w (3)``."""
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
