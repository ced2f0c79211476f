"""The launcher with a stand-in for the demo account: `python __main__.py STATE_DIRECTORY PORT demo|no-demo`."""

import os
import sys
from pathlib import Path

from deploy.local.up import Options, run

state, port, demo = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "demo"
options = Options(state_directory=state, port=port, demo=demo)
sys.exit(run(options, os.environ, lambda installation: f"pk_test_{os.getpid()}"))
