import os

from standin import main  # type: ignore[import-not-found]  # Beside us, in the working directory.

main(os.environ, "simulators", "SIMULATORS_PORT")
