"""How readers refuse a file: by a code, in words that quote no text of its header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from medseg.errors import InputRefused, MedsegError


class HeaderFault(ValueError):
    """What is wrong with a header. Its message names fields and numbers, never text found in them."""


def refused(path: Path, code: str, message: str) -> InputRefused:
    """The refusal of a file; the message begins with its name."""
    return InputRefused(f"{path.name}: {message}", code=code, path=path)


@contextmanager
def header_of(path: Path, format_name: str) -> Iterator[None]:
    """Turn what is found wrong with a header into a refusal, code ``bad-header``.

    Errors of other making are told without their message, as it may quote the header, which may name
    the patient. Numbers that are not finite or too large make no noise: what comes of them is looked at.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except MedsegError:
        raise
    except HeaderFault as fault:
        message = f"{fault}. The header is damaged or not {format_name}'s"
        raise refused(path, "bad-header", message) from None
    except (ValueError, OverflowError):
        message = f"a value in the header has an impossible form. It is damaged or not {format_name}'s"
        raise refused(path, "bad-header", message) from None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the system says against reading a path into a refusal.

    Code ``unreadable`` (rights, a broken disk, a file that has gone), or ``too-large`` for want of memory.
    """
    try:
        yield
    except MedsegError:
        raise
    except OSError as error:
        reason = error.strerror or "the system gives no reason"
        raise refused(path, "unreadable", f"cannot be read: {reason}") from None
    except (MemoryError, RecursionError):
        raise refused(path, "too-large", "there is not enough memory to read it") from None
