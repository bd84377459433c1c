"""`python -m rfo.cli` is the command `rfo`."""

import sys

from rfo.cli.main import main

sys.exit(main())
