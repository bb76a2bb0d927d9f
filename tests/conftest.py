"""The suite runs on the native library, or, when asked for by name, on the reference. Tests marked
`every_device` run once a device: see devices.py."""

import os
import signal
from collections.abc import Iterator

import pytest
import torch

import fcos_ops
from tests import devices


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=devices.DEVICES,
        help="run only tests marked every_device, and only on this device",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Fails at once where the native library is missing: a source tree shadows any installed wheel,
    so without this check the whole suite would compare the reference with itself."""
    info = fcos_ops.build_info()
    asked_for_reference = os.environ.get("FCOS_OPS_BACKEND") == "reference"
    if not info["native"] and not asked_for_reference:
        pytest.exit(f"the native library is not built: {info['native_reason']}", returncode=2)
    device = config.getoption("--device")
    if device is not None and (reason := devices.missing_reason(device)):
        pytest.exit(f"--device {device}: {reason}", returncode=2)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # as in the background of a script; commands obey that, and tests of Ctrl-C would wait
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    info = fcos_ops.build_info()
    return f"fcos_ops: {info} in {os.path.dirname(fcos_ops.__file__)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("every_device") is None:
        return
    wanted = metafunc.config.getoption("--device")
    names = [wanted] if wanted else [d for d in devices.DEVICES if not devices.missing_reason(d)]
    if "simt" in names and metafunc.definition.get_closest_marker("cooperative") is not None:
        names.append(devices.PLAIN_SIMT)
    metafunc.parametrize("device", names, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") is None:
        return
    chosen = [item for item in items if item.get_closest_marker("every_device")]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Ops run, and tensors are made, on this device: the CPU but for tests marked every_device."""
    name = getattr(request, "param", "cpu")
    with devices.running_on(name):
        yield name


@pytest.fixture(autouse=True)
def _seed_and_threads() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)


@pytest.fixture
def one_thread(_seed_and_threads: None) -> None:
    """For tests of many tiny operations, as of the reference of NMS, for which threads cost more
    than they bring."""
    torch.set_num_threads(1)
