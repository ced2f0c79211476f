import os
import sys

from standin import main  # type: ignore[import-not-found]  # In PYTHONPATH, with us.

main({**os.environ, "PORT": sys.argv[sys.argv.index("--port") + 1]}, "simulators", "PORT")
