"""Training: it learns, resumes bit for bit, averages, stops on NaN, and writes whole files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.data import CocoDataset
from fcos.detectors import load_model
from fcos.errors import UserError
from fcos.files import atomic_path
from fcos.models import FCOS
from fcos.training import (
    ModelEMA,
    Trainer,
    TrainingError,
    TrainingSettings,
    load_checkpoint,
)
from fcos.training.schedule import learning_rate_factor

from .helpers import small_model


def _trainer(
    dataset: CocoDataset, output: Path, model: FCOS | None = None, **changes: Any
) -> Trainer:
    values = {"steps": 4, "batch": 2, "warmup": 0, "log_every": 2, "checkpoint_every": 2}
    settings = TrainingSettings(**{**values, **changes})
    return Trainer(model or small_model(), dataset, settings, output)


def _finish(trainer: Trainer) -> list[Any]:
    return list(trainer.run(progress=False))


def test_loss_falls_on_one_image(dataset: CocoDataset, tmp_path: Path) -> None:
    dataset.annotated.images = dataset.annotated.images[:1]
    trainer = _trainer(dataset, tmp_path, steps=30, batch=1, lr=0.02, log_every=1, flip=0)
    losses = [record.loss for record in _finish(trainer)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resumed_run_equals_an_uninterrupted_one(
    dataset: CocoDataset, tmp_path: Path, optimizer: str
) -> None:
    options = {"ema": 0.9, "optimizer": optimizer, "lr": 1e-3}
    options |= {"scales": "40-64", "colour_jitter": 0.5, "aspect_groups": True}
    whole = _trainer(dataset, tmp_path / "a", small_model(norm="bn"), **options)
    _finish(whole)
    for _ in _trainer(dataset, tmp_path / "b", small_model(norm="bn"), **options).run(
        progress=False
    ):
        break  # as if killed after the first checkpoint, in the middle of an epoch
    torch.manual_seed(1)
    resumed = _trainer(dataset, tmp_path / "b", small_model(norm="bn"), **options)
    resumed.resume(load_checkpoint(tmp_path / "b" / "last.pth"))
    assert resumed.step == 2
    _finish(resumed)
    ours, theirs = resumed.final_model.state_dict(), whole.final_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_settings_reach_the_images(
    dataset: CocoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes, colours and groups; the model still detects at the size of its preprocessing."""

    def batches(**changes: Any) -> list[Any]:
        trainer, seen = _trainer(dataset, tmp_path / "run", flip=0, steps=6, **changes), []
        step = trainer.train_step

        def recorded(parts: Any) -> torch.Tensor:
            seen.extend(parts)
            return step(parts)

        monkeypatch.setattr(trainer, "train_step", recorded)
        _finish(trainer)
        size = load_checkpoint(tmp_path / "run" / "last.pth")["config"]["preprocessing"]["size"]
        assert size == 64
        return seen

    plain, sized = batches(), batches(scales="40,45")
    assert {side for b in plain for side in b.images.sizes.min(1).values.tolist()} == {64}
    assert {s for b in sized for s in b.images.sizes.min(1).values.tolist()} == {40, 45}
    coloured = batches(colour_jitter=0.5)
    for ours, theirs in zip(coloured, plain, strict=True):
        assert ours.image_ids == theirs.image_ids
        assert not torch.equal(ours.images.tensor, theirs.images.tensor)
        assert torch.equal(ours.truth.boxes, theirs.truth.boxes)
    # 12 is the only tall one of four: it shares a batch with one other in every epoch of two
    grouped = [batch.image_ids for batch in batches(aspect_groups=True)]
    assert grouped != [batch.image_ids for batch in plain]
    assert sum(12 in ids for ids in grouped) == 3


def test_resume_refuses_another_model(dataset: CocoDataset, tmp_path: Path) -> None:
    _finish(_trainer(dataset, tmp_path))
    content = load_checkpoint(tmp_path / "last.pth", to_resume=True)
    with pytest.raises(UserError, match="width must be 16 to resume .*last.pth, got 8"):
        _trainer(dataset, tmp_path, small_model(width=8)).resume(content)
    with pytest.raises(UserError, match="optimizer must be 'sgd' to resume .*, got 'adamw'"):
        _trainer(dataset, tmp_path, optimizer="adamw").resume(content)
    with pytest.raises(UserError, match="ema must be 0 .* no averaged weights"):
        _trainer(dataset, tmp_path, ema=0.9).resume(content)


def test_checkpoint_gives_the_model_back(dataset: CocoDataset, tmp_path: Path) -> None:
    trainer = _trainer(dataset, tmp_path, ema=0.9)
    _finish(trainer)
    model = load_model(tmp_path / "last.pth")
    assert model.config.preprocessing == dataset.preprocessing
    assert model.config == trainer.model.config and not model.training
    for name, value in trainer.final_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="checkpoint not found"):
        load_checkpoint(tmp_path / "none.pth")
    reasons = {
        b"hello": "it is a text, 'hello'",
        b"": "it is empty",
        b"\x1b[31m": "it is damaged or of another kind",
        b"PK\3\4" + bytes(100): "it is cut short or damaged",
    }
    for content, reason in reasons.items():
        (tmp_path / "text.pth").write_bytes(content)
        with pytest.raises(UserError, match=f"text.pth: not a checkpoint: {reason}$"):
            load_checkpoint(tmp_path / "text.pth")
    torch.save({"model": Path("a")}, tmp_path / "object.pth")
    with pytest.raises(UserError, match="other things than tensors and plain values$"):
        load_checkpoint(tmp_path / "object.pth")
    torch.save({"model": {}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="not a checkpoint written by"):
        load_checkpoint(tmp_path / "other.pth")


def test_metrics_are_json_lines(dataset: CocoDataset, tmp_path: Path) -> None:
    records = _finish(_trainer(dataset, tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[-1]["loss"] == records[-1].loss
    assert lines[-1]["loss_bbox_ctrness"] == records[-1].losses["bbox_ctrness"]


def test_nan_loss_stops_and_keeps_the_last_sound_checkpoint(
    dataset: CocoDataset, tmp_path: Path
) -> None:
    trainer = _trainer(dataset, tmp_path, steps=6)
    with pytest.raises(TrainingError, match=r"not finite at step 3 \(.*nan.*lower lr"):
        for record in trainer.run(progress=False):
            if record.step == 2:
                torch.nn.init.constant_(
                    trainer.model.head.regression_head.bbox_ctrness.bias, torch.nan
                )
    assert load_checkpoint(tmp_path / "last.pth")["step"] == 2


def test_bf16_autocast_trains(dataset: CocoDataset, tmp_path: Path) -> None:
    plain = _finish(_trainer(dataset, tmp_path / "a"))
    mixed = _finish(_trainer(dataset, tmp_path / "b", amp="bf16"))
    assert mixed[0].loss == pytest.approx(plain[0].loss, rel=0.05)
    assert mixed[0].loss != plain[0].loss


def test_average_follows_the_weights() -> None:
    model = small_model()
    ema = ModelEMA(model, decay=0.5)
    start = model.head.regression_head.bbox_reg.weight.detach().clone()
    with torch.no_grad():
        model.head.regression_head.bbox_reg.weight += 1
    ema.update(model)  # decay of the first update: min(0.5, 1 / 10)
    averaged = ema.module.head.regression_head.bbox_reg.weight
    torch.testing.assert_close(averaged, start + 0.9)
    assert not averaged.requires_grad and not ema.module.training
    with pytest.raises(ValueError, match="decay"):
        ModelEMA(model, decay=1.0)


@pytest.mark.parametrize("width", [8, 16])
def test_a_thin_stem_keeps_away_from_channels_last(
    dataset: CocoDataset, tmp_path: Path, width: int
) -> None:
    """There the oneDNN of torch 2.13 ends the process, once images are larger than these."""
    trainer = _trainer(dataset, tmp_path, small_model(backbone_width=width), steps=1)
    body = trainer.model.backbone.body
    last = [body.conv1.weight.is_contiguous(memory_format=torch.channels_last)]
    body.layer2.register_forward_pre_hook(
        lambda _, inputs: last.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    _finish(trainer)
    assert last == [width == 16] * 2


def test_norms_and_biases_do_not_decay(dataset: CocoDataset, tmp_path: Path) -> None:
    decayed, plain = _trainer(dataset, tmp_path).state.optimizer.param_groups
    assert decayed["weight_decay"] == 1e-4 and all(p.ndim == 4 for p in decayed["params"])
    assert plain["weight_decay"] == 0 and all(p.ndim == 1 for p in plain["params"])


def test_biases_learn_at_their_own_rate(dataset: CocoDataset, tmp_path: Path) -> None:
    """And the schedule holds for all: the last of three steps is half way down the cosine."""
    trainer = _trainer(dataset, tmp_path, steps=3, warmup=1, bias_lr_factor=2.0)
    _finish(trainer)
    rates = {group["lr_factor"]: group["lr"] for group in trainer.state.optimizer.param_groups}
    assert rates == pytest.approx({1.0: 0.005, 2.0: 0.01})


def test_learning_rate_schedules() -> None:
    cosine = [learning_rate_factor(s, 100, warmup=9) for s in range(100)]
    assert cosine[0] == 0.1 and cosine[9] == pytest.approx(1.0)
    assert cosine[9:] == sorted(cosine[9:], reverse=True)
    assert cosine[-1] == pytest.approx(0, abs=1e-3)
    steps = [learning_rate_factor(s, 90, schedule="step") for s in (0, 59, 60, 79, 80, 89)]
    assert steps == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    with pytest.raises(ValueError, match="schedule"):
        learning_rate_factor(0, 10, schedule="linear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        *({"steps": 0}, {"lr": -1.0}, {"lr": float("nan")}, {"lr": float("inf")}, {"clip": -1.0}),
        *({"workers": -1}, {"flip": 2.0}, {"flip": float("nan")}, {"ema": 1.0}, {"momentum": 1.0}),
        *({"colour_jitter": 1.5}, {"scales": "800-640"}, {"scales": 640}, {"aspect_groups": 1}),
    ],
)
def test_settings_are_checked(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(UserError, match=f"{name} must be .*, got {value!r}"):
        TrainingSettings(**{"steps": 1, **change})


def test_class_counts_must_agree(dataset: CocoDataset, tmp_path: Path) -> None:
    model = small_model(class_names=("a", "b"), category_ids=(1, 2))
    with pytest.raises(ValueError, match="the model has 2 classes, the data 3"):
        _trainer(dataset, tmp_path, model)


def test_atomic_file_is_whole_or_old(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_gradient_that_is_not_finite_stops_before_a_checkpoint(
    dataset: CocoDataset, tmp_path: Path
) -> None:
    """The loss of that step is finite, but the weights after it are not: it must not be saved."""
    trainer = _trainer(dataset, tmp_path, steps=6)
    weight = trainer.model.head.regression_head.bbox_reg.weight
    weight.register_hook(lambda gradient: gradient * torch.inf if trainer.step == 3 else gradient)
    with pytest.raises(TrainingError, match=r"gradient is not finite at step 4"):
        _finish(trainer)
    assert load_checkpoint(tmp_path / "last.pth")["step"] == 2


@pytest.mark.parametrize(
    ("part", "labels"), [("bbox_ctrness", True), ("bbox_reg", False), ("cls_logits", True)]
)
def test_nan_beside_a_finite_box_loss_may_come_from_labels(
    dataset: CocoDataset, tmp_path: Path, part: str, labels: bool
) -> None:
    trainer = _trainer(dataset, tmp_path)
    head = trainer.model.head
    parent = head.classification_head if part == "cls_logits" else head.regression_head
    torch.nn.init.constant_(getattr(parent, part).bias, torch.nan)
    with pytest.raises(TrainingError, match="not finite at step 1") as raised:
        _finish(trainer)
    assert ("labels that are not in" in str(raised.value)) == labels
