"""Verdict: what medseg thinks of a scan, a case or a result, with named reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from medseg.errors import InputRefused

Status = Literal["ok", "repaired", "warning", "refused", "failed"]
_ORDER: tuple[str, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Reason:
    """One named finding: a stable ``code`` and a sentence for people."""

    code: str
    message: str

    def to_json(self) -> dict[str, str]:
        """The reason as it stands in every JSON document."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Verdict:
    """``ok``, ``repaired``, ``warning``, ``refused`` or (cases only) ``failed``, and why.

    ``ok`` has no reasons; every other status has at least one.
    """

    status: Status = "ok"
    reasons: tuple[Reason, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in _ORDER:
            raise ValueError(f"verdict {self.status!r} is none of {', '.join(_ORDER)}")
        if (self.status == "ok") != (not self.reasons):
            raise ValueError(f"a verdict {self.status!r} with {len(self.reasons)} reasons")

    @classmethod
    def of(cls, status: Status, code: str, message: str) -> Verdict:
        """A verdict with one reason."""
        return cls(status, (Reason(code, message),))

    @classmethod
    def refusal(cls, error: InputRefused) -> Verdict:
        """The verdict that corresponds to a refusal."""
        return cls("refused", tuple(Reason(code, text) for code, text in error.reasons))

    def __add__(self, other: Verdict) -> Verdict:
        """Both sets of reasons, under the graver of the two statuses; repeated reasons once."""
        status = max(self.status, other.status, key=_ORDER.index)
        return Verdict(status, tuple(dict.fromkeys(self.reasons + other.reasons)))

    @property
    def codes(self) -> tuple[str, ...]:
        """The reasons' codes, in order."""
        return tuple(reason.code for reason in self.reasons)


OK = Verdict()
