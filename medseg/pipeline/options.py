"""What a person can ask of infer, checked before anything is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import NotFound, UsageError
from medseg.io.raster import check_allow

Progress = Callable[[str, int, int], None]

# A lone number below is not meant as one of bytes.
_BYTES_MEANT = 10**6
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
    skip_empty
        Skip windows that hold nothing to segment, by the rule that the model carries; without a rule none
        is skipped.
    probabilities, entropy
        Also give the probability of every output channel, and the entropy of the probabilities in nats.
    allow
        Repairs to permit, e.g. ``("missing-slices",)``.
    series
        Which series: a UID, or a number as `medseg.inspect` shows it.
    strict
        Refuse where there would be a warning.
    max_memory
        Bytes that the process may take at its peak; the work is planned to fit, and fails only where
        nothing fits. None takes what the machine has free.
    sums
        Precision of the logits that are carried from window to window: ``"f32"``, ``"f16"``, or
        ``"auto"``, which takes half precision only where nothing else fits.
    postprocess
        ``"plan"``: the label map is cleaned up as the model's plan says; ``"none"``: it stays as it came out
        of the network.
    scratch
        Folder for the sums that do not fit into memory; None takes ``MEDSEG_SCRATCH``, else the system's
        temporary folder.
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    overlap: float | None = None
    tta: bool = False
    skip_empty: bool = True
    probabilities: bool = False
    entropy: bool = False
    allow: tuple[str, ...] = ()
    series: str | int | None = None
    strict: bool = False
    max_memory: int | None = None
    sums: str = "auto"
    scratch: str | Path | None = None
    postprocess: str = "plan"

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", tuple(self.allow))
        check_allow(self.allow)
        for what, value, expected in (
            ("backend", self.backend, ("auto", "openvino", "torch")),
            ("precision", self.precision, ("auto", "f32", "bf16", "f16")),
            ("sums", self.sums, ("auto", "f32", "f16")),
            ("postprocess", self.postprocess, ("plan", "none")),
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
        folder = self.scratch_folder
        if folder is not None and not folder.is_dir():
            raise NotFound(f"{folder}: no such folder for scratch files; create it first")

    @property
    def maps(self) -> frozenset[str]:
        """The maps that are wanted: some of ``"probabilities"`` and ``"entropy"``."""
        wanted = {"probabilities": self.probabilities, "entropy": self.entropy}
        return frozenset(name for name, is_wanted in wanted.items() if is_wanted)

    @property
    def scratch_folder(self) -> Path | None:
        """``scratch``, else what MEDSEG_SCRATCH names; None is the system's temporary folder."""
        named = self.scratch or os.environ.get("MEDSEG_SCRATCH", "").strip()
        return Path(named).expanduser() if named else None

    def to_json(self) -> dict[str, Any]:
        """The options that decide the labels, as the sidecar records and compares them.

        Not among them: ``max_memory`` and ``scratch``, which decide how the work is done, and the maps,
        which are further files.
        """
        return {
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "overlap": self.overlap,
            "tta": self.tta,
            "skip_empty": self.skip_empty,
            "sums": self.sums,
            "allow": sorted(self.allow),
            "series": self.series,
            "strict": self.strict,
            # Results from before there was a choice do not name it.
            **({} if self.postprocess == "plan" else {"postprocess": self.postprocess}),
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
    if not isinstance(text, str):
        raise UsageError(f"memory {text!r}: expected a whole number of bytes, or a text such as '4GB'")
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"memory {text!r}: expected a number and a unit, e.g. 4GB or 512MB")
    if not found[2] and 0 < float(found[1]) < _BYTES_MEANT:
        raise UsageError(
            f"memory {text!r} is {text.strip()} bytes: give the unit that you mean, e.g. {text.strip()}GB"
        )
    unit = _UNITS[found[2].upper()]
    if found[3]:
        unit = 1 << (10 * list(_UNITS.values()).index(unit))
    return int(float(found[1]) * unit)
