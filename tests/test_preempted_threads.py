"""Threads that the regions of the CPU drivers leave out, in a C++ program of its own."""

import subprocess
from pathlib import Path

from tests.repository import REPOSITORY


def test_a_thread_without_a_core_is_left_out_for_a_while(tmp_path: Path) -> None:
    program = tmp_path / "preempted_threads"
    source = Path(__file__).parent / "cpp/preempted_threads/main.cpp"
    options = ["-std=c++17", "-fopenmp", "-O1", f"-I{REPOSITORY / 'csrc'}"]
    subprocess.run(["c++", *options, source, "-o", program], check=True)
    subprocess.run([program], check=True)
