"""``python -m medseg``: the command line, where the ``medseg`` command is not on the PATH."""

import sys

from medseg.cli.app import main

if __name__ == "__main__":  # spawned training processes import the main module again
    sys.exit(main())
