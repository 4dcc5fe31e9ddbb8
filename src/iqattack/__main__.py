"""`python -m iqattack`."""

import sys

from iqattack.cli import main

sys.exit(main())
