import os

from standin import main  # type: ignore[import-not-found]  # In PYTHONPATH, with us.

main(os.environ, "gateway", "GATEWAY_PORT", "GATEWAY_ADMIN_PORT")
