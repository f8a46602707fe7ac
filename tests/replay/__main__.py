"""python -m tests.replay FILE.json ..."""

import sys

from tests.replay import main

sys.exit(main(sys.argv[1:]))
