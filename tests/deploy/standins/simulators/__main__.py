import os
import sys

from standin import main  # type: ignore[import-not-found]  # Beside us, in the working directory.

main({**os.environ, "PORT": sys.argv[sys.argv.index("--port") + 1]}, "simulators", "PORT")
