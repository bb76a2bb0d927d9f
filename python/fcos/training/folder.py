"""The folder that a training writes into."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from ..files import check_writable
from ..names import CHECKPOINT_NAME, FIRST_BATCH_NAME
from .metrics import cut_metrics

METRICS_NAME = "metrics.jsonl"
_LOCK_NAME = ".lock"


class RunFolder:
    """last.pth, metrics.jsonl and first_batch.png of a run, which one process at a time may
    write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / CHECKPOINT_NAME
        self.metrics = self.path / METRICS_NAME
        self.first_batch = self.path / FIRST_BATCH_NAME

    @contextlib.contextmanager
    def opened(self, step: int) -> Iterator[None]:
        """Hold the folder for a run that is at `step`, and clear away what a run left that began
        anew here, or was killed behind its last.pth.

        Raises:
            UserError: another training holds it.
            OSError: it cannot be written.
        """
        check_writable(self.path)
        with self._locked():
            for file in (self.checkpoint, self.first_batch):
                for unfinished in self.path.glob(f".{file.stem}.*"):
                    unfinished.unlink()
            if step == 0:
                self.metrics.unlink(missing_ok=True)
            cut_metrics(self.metrics, step)
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # lockf, as processes that load images would inherit the lock of flock, and outlive this one
        # for some seconds where it is killed
        path = self.path / _LOCK_NAME
        with open(path, "a") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise UserError(
                    f"another training writes into {self.path}: wait, or choose another --output"
                ) from None
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
