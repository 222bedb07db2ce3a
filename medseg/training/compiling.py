"""The network compiled for its steps, where the plan asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from medseg.errors import MedsegError


def compiled(module: nn.Module) -> nn.Module:
    """The module as torch compiles it at its first call: one program for the one size that all steps have."""
    # Sizes left open fail in torch 2.13 on a CPU. Torch's type hints say function, what comes is a module.
    return cast(nn.Module, torch.compile(module, dynamic=False))


@contextmanager
def uncompiled() -> Iterator[None]:
    """In here compiled modules run as they were written: windows come in many sizes, each a compilation."""
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def naming_the_cure() -> Iterator[None]:
    """Turns what torch's compiler raises into an error that says what to do.

    Raises
    ------
    MedsegError
        Where the network cannot be compiled.
    """
    from torch._dynamo.exc import TorchDynamoException  # takes a second to load, so only where it is used

    try:
        yield
    except TorchDynamoException as error:
        raise MedsegError(
            f"torch cannot compile the network here ({str(error).strip().splitlines()[0]}): train into "
            f"another folder with schedule.compile=false, or install a C++ compiler (on a GPU: triton)"
        ) from error
