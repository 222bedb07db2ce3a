"""The process that has ITK decode one picture: a program of its own, run by `pictures.decode_outside`.

A crash, an endless loop or a hunger for memory of the libraries inside ITK ends this process alone. It is run
by its path and imports nothing of medseg. Arguments: the file, and how many bytes its pixels are to have. The
answer on standard output: the type (``u2``), a line end, and the pixels.
"""

from __future__ import annotations

import sys

# ITK and its imports, and a second copy of the pixels.
_SPARE_BYTES = 3 << 29


def main() -> None:
    """Decode, or end with an exit code other than 0."""
    path, size = sys.argv[1], int(sys.argv[2])
    _limit(_SPARE_BYTES + 6 * size)
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # type: ignore[no-untyped-call]
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(path))
    if pixels.nbytes != size:
        sys.exit(1)
    sys.stdout.buffer.write(pixels.dtype.str[1:].encode() + b"\n")
    sys.stdout.buffer.write(pixels.tobytes())


def _limit(count: int) -> None:
    """Cap the address space (Linux alone keeps such a limit) and leave no core file."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = count if hard == resource.RLIM_INFINITY else min(hard, count)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    main()
