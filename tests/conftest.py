"""The suite runs on the native library, or, when asked for by name, on the reference."""

import os

import pytest
import torch

import fcos_ops


def pytest_configure(config: pytest.Config) -> None:
    """Fails at once where the native library is missing: a source tree shadows any installed wheel,
    so without this check the whole suite would compare the reference with itself."""
    info = fcos_ops.build_info()
    asked_for_reference = os.environ.get("FCOS_OPS_BACKEND") == "reference"
    if not info["native"] and not asked_for_reference:
        pytest.exit(f"the native library is not built: {info['native_reason']}", returncode=2)


def pytest_report_header() -> str:
    info = fcos_ops.build_info()
    return f"fcos_ops: {info} in {os.path.dirname(fcos_ops.__file__)}"


@pytest.fixture(autouse=True)
def _seed_and_threads() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)
