"""Every error medseg raises on purpose, in one tree.

::

    MedsegError
    ├── UsageError (ValueError)                 the call itself is wrong             exit 2
    │   ├── NotFound (FileNotFoundError)        a path or a model name leads nowhere exit 2
    │   ├── PlanInvalid                         a plan or recipe does not parse      exit 2
    │   └── MissingExtra (ImportError)          an optional dependency is absent     exit 2
    ├── InputRefused (ValueError)               a scan, label file or dataset that
    │   │                                       medseg will not guess about          exit 3
    │   └── SeveralVolumes                      one file holds several; none was chosen
    ├── ModelRefused (ValueError)               a bundle that is broken or unsafe    exit 5
    ├── WriteFailed (OSError)                   an output could not be written and verified
    │   └── FormatCannotHold (ValueError)       the format asked for cannot keep this   exit 2
    └── OutOfMemory (MemoryError)               the plan does not fit into memory
        └── DeviceOutOfMemory                   a GPU's memory ran out

Each also subclasses the builtin that a caller would expect, so ``except ValueError`` keeps working.
Anything else that escapes is a bug (exit 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class MedsegError(Exception):
    """Base of every error medseg raises on purpose. The message says what, where, expected, cure."""

    exit_code = 1


class UsageError(MedsegError, ValueError):
    """The call is wrong: an option, a combination of options, a name."""

    exit_code = 2


class NotFound(UsageError, FileNotFoundError):
    """A path or a model name that leads nowhere."""


class PlanInvalid(UsageError):
    """A plan, recipe or override that does not parse or contradicts itself."""


class MissingExtra(UsageError, ImportError):
    """An optional dependency is absent; the message says how to install it."""


class InputRefused(MedsegError, ValueError):
    """A scan, a label file or a dataset that medseg refuses rather than guess about.

    Parameters
    ----------
    message
        What was found, what was expected, and the cure. Names the file.
    code
        Machine-readable reason, e.g. ``"missing-slices"``; the words of ``--allow`` are codes.
    path
        The file or folder, where there is one.
    reasons
        Further ``(code, message)`` pairs, where several faults were found.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        code: str = "refused",
        path: Path | str | None = None,
        reasons: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.path = None if path is None else Path(path)
        self.reasons: tuple[tuple[str, str], ...] = tuple(reasons) or ((code, message),)


class SeveralVolumes(InputRefused):
    """A file of several volumes in time, none of which was chosen. Its code is ``four-dimensional``.

    Parameters
    ----------
    path
        The file.
    count
        How many volumes it holds; ``series=1`` to ``series=count`` choose one.
    """

    def __init__(self, path: Path, count: int) -> None:
        message = (
            f"{path.name}: {count} volumes in one file, expected one. Choose one with series=1 to "
            f"series={count}, or split the file"
        )
        super().__init__(message, code="four-dimensional", path=path)
        self.count = count


class ModelRefused(MedsegError, ValueError):
    """A model bundle that is incomplete, altered, unsafe or of another format."""

    exit_code = 5


class WriteFailed(MedsegError, OSError):
    """An output that could not be written, or did not read back as it was written."""


class FormatCannotHold(WriteFailed, UsageError):
    """The format that was asked for cannot keep this item's grid or type of voxels."""

    exit_code = 2


class OutOfMemory(MedsegError, MemoryError):
    """The work does not fit into the memory given; the message says what would."""


class DeviceOutOfMemory(OutOfMemory):
    """A GPU's own memory ran out; the computer's may be enough."""
