"""Programs of the operating system that some checks need. .ci/run installs them where it may."""

import shutil

import pytest


def tool(name: str, package: str = "prometheus") -> str:
    """Its path; the test is skipped where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (apt install {package})")
    return path
