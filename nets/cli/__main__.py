"""`python -m nets.cli`."""

import sys

from nets.cli import main

sys.exit(main())
