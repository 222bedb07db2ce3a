"""Libraries are silenced while medseg reads with them, and as they were afterwards."""

from __future__ import annotations

import logging
import warnings
from contextlib import ExitStack

import pytest

from medseg.io.quiet import quiet


def test_a_library_and_its_parts_say_nothing_and_then_speak_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with quiet("library"):
        logging.getLogger("library.part").error("DOE^JANE")
        warnings.warn("DOE^JANE", stacklevel=1)
    assert caplog.text == ""
    logging.getLogger("library.part").debug("again")
    assert "again" in caplog.text
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", stacklevel=1)


def test_silence_ends_with_the_last_of_several_readers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    filters = list(warnings.filters)
    first, second = ExitStack(), ExitStack()  # as two threads, one of which is done before the other
    first.enter_context(quiet("library"))
    second.enter_context(quiet("library"))
    first.close()
    logging.getLogger("library").error("DOE^JANE")
    warnings.warn("DOE^JANE", stacklevel=1)
    second.close()
    assert caplog.text == ""
    assert warnings.filters == filters
    logging.getLogger("library").debug("again")
    assert "again" in caplog.text
