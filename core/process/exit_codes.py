"""How a process ends: the codes that its supervisor reads."""

import os

__all__ = ["FAILED", "OK", "WRONG_SETTINGS"]

OK = os.EX_OK
FAILED = 1
WRONG_SETTINGS = os.EX_CONFIG
"""78: started again, it would end for the same reason. No supervisor of ours tries that."""
