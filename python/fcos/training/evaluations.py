"""When a training evaluates."""

from __future__ import annotations

from .metrics import read_metrics
from .trainer import Trainer


class EvaluationPlan:
    """Evaluates once every `every` epochs, at the next record, and at the end.

    What was done stands in the metrics file, so that a run that resumes catches up on an evaluation
    that was interrupted or failed.
    """

    def __init__(self, trainer: Trainer, every: float) -> None:
        self.trainer, self.every = trainer, every
        # of the first process, which alone has a folder where the machines share none
        lines = trainer.processes.of_first(read_metrics(trainer.folder.metrics, trainer.step))
        done = [line for line in lines if "AP" in line]
        self._last_step = done[-1]["step"] if done else 0
        self._last_epoch = float(done[-1].get("epoch", 0)) if done else 0.0

    def due(self) -> bool:
        """Whether to evaluate at the trainer's step, where a record was just made."""
        trainer = self.trainer
        if trainer.step == self._last_step or not trainer.at_record:
            return False
        passed = int(trainer.epoch / self.every) > int(self._last_epoch / self.every)
        return passed or trainer.step >= trainer.settings.steps

    def write(self, metrics: dict[str, float]) -> None:
        """Add the metrics of an evaluation at the trainer's step to the file."""
        trainer = self.trainer
        self._last_step, self._last_epoch = trainer.step, trainer.epoch
        trainer.write_metrics({"step": trainer.step, "epoch": trainer.epoch, **metrics})
