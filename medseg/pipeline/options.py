"""What a person can ask of infer, checked before anything is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medseg.errors import UsageError
from medseg.io.raster import check_allow

Progress = Callable[[str, int, int], None]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class InferOptions:
    """How to segment. Every field is a keyword of `infer` and an option of ``medseg infer``.

    Parameters
    ----------
    backend, device, precision, threads
        As in `medseg.inference.open_backend`.
    overlap
        Of neighbouring windows, 0 <= overlap < 1; None takes the model's.
    tta
        Average over the flips that the model allows.
    probabilities
        Also give the probability of every class.
    allow
        Repairs to permit, e.g. ``("missing-slices",)``.
    series
        Which series: a UID, or a number as `medseg.inspect` shows it.
    strict
        Refuse where there would be a warning.
    max_memory
        Bytes that the arrays of one scan may take; None sets no limit.
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    overlap: float | None = None
    tta: bool = False
    probabilities: bool = False
    allow: tuple[str, ...] = ()
    series: str | int | None = None
    strict: bool = False
    max_memory: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", tuple(self.allow))
        check_allow(self.allow)
        for what, value, expected in (
            ("backend", self.backend, ("auto", "openvino", "torch")),
            ("precision", self.precision, ("auto", "f32", "bf16", "f16")),
        ):
            if value not in expected:
                raise UsageError(f"{what} {value!r}: expected one of {', '.join(expected)}")
        if re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device) is None:
            raise UsageError(f"device {self.device!r}: expected auto, cpu, cuda or cuda:N")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads {self.threads}: expected at least 1")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise UsageError(f"overlap {self.overlap}: expected at least 0 and less than 1")
        if self.max_memory is not None and self.max_memory <= 0:
            raise UsageError(f"max_memory {self.max_memory}: expected a positive number of bytes")

    def to_json(self) -> dict[str, Any]:
        """The options that decide the labels, as the sidecar records and compares them.

        ``max_memory`` only decides whether there is a result, ``probabilities`` adds a file.
        """
        return {
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "overlap": self.overlap,
            "tta": self.tta,
            "allow": sorted(self.allow),
            "series": self.series,
            "strict": self.strict,
        }


def memory_bytes(text: str | int | None) -> int | None:
    """``"4GB"``, ``"512 MB"`` or a number of bytes as an int. Units are decimal; ``GiB`` is accepted too.

    Raises
    ------
    UsageError
        If it is no amount of memory.
    """
    if text is None or isinstance(text, int):
        return text
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"memory {text!r}: expected a number and a unit, e.g. 4GB or 512MB")
    unit = _UNITS[found[2].upper()]
    if found[3]:
        unit = 1 << (10 * list(_UNITS.values()).index(unit))
    return int(float(found[1]) * unit)
