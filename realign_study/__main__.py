"""`python -m realign_study`, as `realign`."""

import sys

from .cli import main

sys.exit(main())
