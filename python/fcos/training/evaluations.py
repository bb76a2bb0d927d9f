"""When a training evaluates, and what it keeps of that."""

from __future__ import annotations

from typing import Any

from .checkpoint import load_checkpoint, save_checkpoint
from .metrics import read_metrics
from .trainer import Trainer


class EvaluationPlan:
    """Evaluates once every `every` epochs, at the next record, and at the end.

    What was done stands in the metrics file, so that a run that resumes catches up on an evaluation
    that was interrupted or failed. The weights with the best AP are in best.pth, and so is that AP.

    Attributes:
        best: AP, step and epoch of the weights in best.pth; None where there is none yet.
    """

    def __init__(self, trainer: Trainer, every: float) -> None:
        self.trainer, self.every = trainer, every
        # of the first process, which alone has a folder where the machines share none
        lines = trainer.processes.of_first(read_metrics(trainer.folder.metrics, trainer.step))
        done = [line for line in lines if "AP" in line]
        self._last_step = done[-1]["step"] if done else 0
        self.best: dict[str, Any] | None = None
        if trainer.processes.first and trainer.step and trainer.folder.best.exists():
            self.best = load_checkpoint(trainer.folder.best).get("best")

    def due(self) -> bool:
        """Whether to evaluate at the trainer's step, where a record was just made."""
        trainer = self.trainer
        if trainer.step == self._last_step or not trainer.at_record:
            return False
        passed = self._periods(trainer.step) > self._periods(self._last_step)
        return passed or trainer.step >= trainer.settings.steps

    def _periods(self, step: int) -> int:
        """How often `every` epochs have passed at a step."""
        epochs = step * self.trainer.settings.batch / len(self.trainer.dataset)
        return int(epochs / self.every + 1e-9)  # 0.3 / 0.1 is 2.9999999999999996

    def write(self, metrics: dict[str, Any]) -> bool:
        """Keep the metrics of an evaluation at the trainer's step, and the weights if no AP before
        was as high. Returns whether it was so. The first process alone has metrics.

        best.pth comes first: killed in between, a run that resumes evaluates once more.
        """
        trainer = self.trainer
        least = -1.0 if self.best is None else self.best["AP"]
        better = trainer.processes.first and metrics["AP"] > least
        if better:
            self.best = {"AP": metrics["AP"], "step": trainer.step, "epoch": trainer.epoch}
            save_checkpoint(trainer.folder.best, trainer.final_model, best=self.best)
        trainer.write_metrics({"step": trainer.step, "epoch": trainer.epoch, **metrics})
        self._last_step = trainer.step
        return better
