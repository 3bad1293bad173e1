"""`python -m jupyter_volcopy` is the command `volcopy`."""

import sys

from jupyter_volcopy.cli.volcopy import main

sys.exit(main())
