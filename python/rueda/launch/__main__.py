"""Makes ``python -m rueda.launch`` the same command as ``ruedarun``."""

import sys

from rueda.launch.cli import main

if __name__ == "__main__":
    sys.exit(main())
