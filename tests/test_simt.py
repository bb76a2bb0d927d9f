"""The simulator itself: blocks that wait for each other, and kernels that are wrong."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import devices
from tests.repository import REPOSITORY

SEEDS = range(5)
LAUNCH_FAILURE, TOO_MANY_BLOCKS = 719, 720  # of cudaError_t


def launched(case: str, seed: int) -> str:
    done = subprocess.run(
        [devices.simt_program(), case],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "FCOS_OPS_SIMT_SEED": str(seed)},
    )
    return done.stdout.strip()


def line_of(code: str) -> int:
    lines = Path(REPOSITORY, "tests/simt/kernels.cpp").read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if code in line]
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_of_a_cooperative_launch_wait_for_each_other(seed: int) -> None:
    """Each has shared memory, barriers and warp primitives of its own."""
    assert launched("ring", seed) == "ok"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "case, block",
    [("missing flag", 1), ("one flag missing at the end", 2)],
)
def test_a_missing_flag_is_reported(case: str, block: int, seed: int) -> None:
    """Not waited for. Who waits for it is named; in the end others may wait for that one, too."""
    message = launched(case, seed)
    line = line_of("wait_for_flag(&memory->flag[first + next])")
    place = rf"{LAUNCH_FAILURE} ring: block \((\d), 0\), thread 0, line {line}: waits for a flag"
    found = re.match(place, message)
    assert found is not None, message
    waiting = int(message.split(": ")[-1].split()[0])
    assert waiting > 1 or int(found[1]) == block


@pytest.mark.parametrize("seed", SEEDS)
def test_a_block_that_waits_for_itself_is_reported(seed: int) -> None:
    line = line_of("if (threadIdx.x == 0) wait_for_flag(flag);")
    place = rf"{LAUNCH_FAILURE} own: block \(\d, 0\), thread 0, line {line}: waits for a flag"
    assert re.match(place, launched("own flag", seed))


def test_a_flag_of_a_block_that_never_runs_beside() -> None:
    """Blocks of an ordinary launch come one after the other."""
    assert "waits for a flag that no thread is left to set" in launched("ordinary launch", 0)


def test_more_blocks_than_the_device_holds() -> None:
    assert launched("too many blocks", 0) == f"{TOO_MANY_BLOCKS} ring"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_barrier_that_a_thread_never_reaches(seed: int) -> None:
    message = launched("barrier", seed)
    assert message.startswith(f"{LAUNCH_FAILURE} barrier: block (1, 0)")
    assert "from thread 0 finished; from thread 1 at the barrier of line" in message
