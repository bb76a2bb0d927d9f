"""first_batch.png: what the network is given at first, and no reason to end a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fcos.cli import main
from fcos.data import CocoDataset, collate
from fcos.data.augmentation import View
from fcos.pictures.drawing import class_colour
from fcos.training import first_batch
from fcos.training.first_batch import write_first_batch
from PIL import Image

from .helpers import SMALL


def _train(data: Path, *more: str) -> int:
    return main(["train", "--data", str(data), "--output", str(data / "run"), *SMALL, *more])


def test_it_is_drawn_before_the_first_step_alone(data: Path) -> None:
    assert _train(data, "--steps", "1") == 0
    picture = data / "run" / "first_batch.png"
    with Image.open(picture) as image:
        assert image.format == "PNG" and image.width == 2 * 480 + 8  # two images a step
    picture.unlink()
    assert _train(data, "--steps", "2", "--resume") == 0
    assert not picture.exists()


def test_images_are_as_the_network_sees_them(dataset: CocoDataset, tmp_path: Path) -> None:
    """Mirrored, padded with the mean colour, and with the boxes that are trained on."""
    batch = collate([dataset.sample(0, View(flip=True)), dataset.sample(2)])
    assert batch.images.tensor.shape[2:] == (64, 96)
    write_first_batch(tmp_path / "a.png", batch, dataset)
    with Image.open(tmp_path / "a.png") as image:
        left, right = (np.asarray(image)[:, start : start + 480] for start in (0, 488))
    scale = 480 / 96
    x1, y1, x2, y2 = (batch.truth.boxes[0] * scale).tolist()  # cup, mirrored
    colour = class_colour(int(batch.truth.labels[0]))
    assert tuple(left[round(y2), round((x1 + x2) / 2)]) == colour
    assert tuple(left[round((y1 + y2) / 2), round(x2)]) == colour
    mean = np.array(dataset.preprocessing.mean) * 255
    assert batch.images.sizes.tolist()[1] == [64, 64]
    assert np.abs(right[:320, 330:] - mean).max() <= 1  # levels of rounding


def test_it_holds_sixteen_images_at_most(dataset: CocoDataset, tmp_path: Path) -> None:
    batch = collate([dataset.sample(index % 4) for index in range(20)])
    write_first_batch(tmp_path / "a.png", batch, dataset)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (4 * 480 + 3 * 8, 4 * 480 + 3 * 8)


def test_a_picture_that_cannot_be_drawn_is_said(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(first_batch, "grid", fail)
    assert _train(data, "--steps", "1") == 0
    path = data / "run" / "first_batch.png"
    expected = f"fcos: {path} could not be drawn: No space left on device"
    assert f"\r{expected}\n" in capsys.readouterr().err  # where the bar was
    assert not path.exists() and (data / "run" / "last.pth").exists()
