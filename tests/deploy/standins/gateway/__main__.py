import os

from standin import main  # type: ignore[import-not-found]  # Beside us, in the working directory.

main(os.environ, "gateway", "GATEWAY_PORT", "GATEWAY_ADMIN_PORT")
