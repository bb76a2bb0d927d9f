"""The benchmark suite: `python -m benchmarks`. Speed lives here; no test asserts a time."""
