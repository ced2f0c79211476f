"""The launcher with a stand-in for the demo account: `python __main__.py STATE_DIRECTORY PORT`."""

import os
import sys
from pathlib import Path

from deploy.local.up import Options, run

state, port = Path(sys.argv[1]), int(sys.argv[2]) or None
sys.exit(run(Options(state_directory=state, port=port), os.environ, lambda installation: f"pk_test_{os.getpid()}"))
