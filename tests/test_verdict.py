"""Verdict: the graver status wins, reasons add up, and a refusal becomes a verdict."""

from __future__ import annotations

import pytest

from medseg import InputRefused, Reason, Verdict
from medseg.verdict import OK

WARNING = Verdict.of("warning", "orientation-unknown", "left may be right")
REPAIRED = Verdict.of("repaired", "non-finite", "3 voxels set to 0")


def test_adding_keeps_the_graver_status_and_every_reason_once() -> None:
    assert (OK + OK).status == "ok"
    assert (REPAIRED + WARNING).status == "warning"
    assert (WARNING + REPAIRED + WARNING).codes == ("orientation-unknown", "non-finite")
    assert (OK + REPAIRED) == REPAIRED
    refused = Verdict.of("refused", "tilt", "18 degrees")
    assert (refused + WARNING).status == (WARNING + refused).status == "refused"


def test_a_status_other_than_ok_has_a_reason() -> None:
    with pytest.raises(ValueError, match="0 reasons"):
        Verdict("warning")
    with pytest.raises(ValueError, match="1 reasons"):
        Verdict("ok", (Reason("a", "b"),))
    with pytest.raises(ValueError, match="none of ok, repaired, warning, refused, failed"):
        Verdict("fine")  # type: ignore[arg-type]


def test_a_refusal_keeps_all_its_reasons() -> None:
    reasons = [("tilt", "18 degrees"), ("missing-slices", "2 of 9")]
    several = InputRefused("two faults", code="tilt", reasons=reasons)
    assert Verdict.refusal(several).codes == ("tilt", "missing-slices")
    single = Verdict.refusal(InputRefused("a fault", code="shear"))
    assert [reason.to_json() for reason in single.reasons] == [{"code": "shear", "message": "a fault"}]
    assert single.status == "refused"
