"""``python -m medseg`` and ``torchrun ... -m medseg`` are the `medseg` command."""

import sys

from medseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
