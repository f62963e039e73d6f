"""`python -m mold.agent`."""

import sys

from mold.agent.main import main

sys.exit(main())
