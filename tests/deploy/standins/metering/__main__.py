import os

from standin import main  # type: ignore[import-not-found]  # In PYTHONPATH, with us.

main(os.environ, "metering", "METERING_ADMIN_PORT")
