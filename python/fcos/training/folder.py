"""The folder that a training writes into."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic_path, check_writable
from ..names import (
    BEST_NAME,
    CHECKPOINT_NAME,
    CONFIGURATION_NAME,
    CURVES_NAME,
    FIRST_BATCH_NAME,
    METRICS_NAME,
    TABLE_NAME,
)
from .metrics import cut_metrics

_OF_ITS_STEPS = (BEST_NAME, METRICS_NAME, TABLE_NAME, CURVES_NAME)  # not of a run begun anew
_LOCK_NAME = ".lock"


class RunFolder:
    """The files of a run, which one process at a time may write.

    Attributes:
        checkpoint, best, metrics, first_batch: paths of last.pth and so on.
        configuration: what config.json is to hold; None: there is to be none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / CHECKPOINT_NAME
        self.best = self.path / BEST_NAME
        self.metrics = self.path / METRICS_NAME
        self.first_batch = self.path / FIRST_BATCH_NAME
        self.configuration: dict[str, Any] | None = None

    @contextlib.contextmanager
    def opened(self, step: int) -> Iterator[None]:
        """Hold the folder for a run that is at `step`, clear away what a run left that began anew
        here, or was killed behind its last.pth, and write config.json.

        Raises:
            UserError: another training holds it.
            OSError: it cannot be written.
        """
        check_writable(self.path)
        with self._locked():
            for name in (CHECKPOINT_NAME, CONFIGURATION_NAME, FIRST_BATCH_NAME, *_OF_ITS_STEPS):
                for unfinished in self.path.glob(f".{Path(name).stem}.*"):
                    unfinished.unlink()
            if step == 0:
                for name in _OF_ITS_STEPS:
                    (self.path / name).unlink(missing_ok=True)
            cut_metrics(self.metrics, step)
            self._write_configuration()
            yield

    def _write_configuration(self) -> None:
        path = self.path / CONFIGURATION_NAME
        if self.configuration is None:
            return
        text = json.dumps(self.configuration, indent=2) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")

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
