"""``python -m medseg``: the command line, where the ``medseg`` command is not on the PATH."""

import sys

from medseg.cli.app import main

sys.exit(main())
