"""`fcos show` goes on where an image cannot be read, draws a note in its place, and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fcos.cli import main
from fcos.training.checkpoint import save_checkpoint
from PIL import Image

from .helpers import decided_model


def _show(data: Path, output: Path, *more: str) -> int:
    return main(["show", "--data", str(data), "--split", "train", "--output", str(output), *more])


def test_a_note_is_in_the_place_of_an_image_that_cannot_be_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _show(data, tmp_path / "sound") == 0
    (data / "train" / "12.png").write_text("not an image")
    capsys.readouterr()
    assert _show(data, tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "1 images could not be read: notes are in their places\ndrew 4 pictures" in captured.out
    assert captured.err.count("fcos: cannot read the image") == 1
    for picture in (tmp_path / "sound").iterdir():
        same = picture.read_bytes() == (tmp_path / "out" / picture.name).read_bytes()
        assert same == (picture.name not in ("12.png", "index.png"))
    assert _is_note(tmp_path / "out" / "12.png")


def _is_note(path: Path) -> bool:
    """Whether it is grey, with a few dark lines of text."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    return bool((pixels == 211).mean() > 0.8 and (pixels < 64).mean() > 0.005)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_weights_skip_images_that_cannot_be_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    """They are no errors of the detector, and evaluation refuses them."""
    weights = str(tmp_path / "model.pth")
    save_checkpoint(Path(weights), decided_model())
    for name in ("12.png", "13.png"):
        (data / "train" / name).write_text("not an image")
    common = ["--weights", weights, "--device", "cpu", "--workers", workers, "--batch", "2"]
    assert _show(data, tmp_path / "out", *common, "--sort", "worst", "--pictures", "3") == 1
    captured = capsys.readouterr()
    assert captured.err.count("fcos: cannot read the image") == 2
    assert "2 images, " in captured.out
    assert "2 images could not be read: notes are in their places\ndrew 3" in captured.out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["11.png", "12.png", "14.png", "index.png"]  # the readable ones before others
    assert [_is_note(tmp_path / "out" / name) for name in names[:3]] == [False, True, False]
    assert main(["eval", "--data", str(data), "--split", "train", *common]) == 2
    assert "fcos: error: cannot read the image" in capsys.readouterr().err


def test_a_sheet_of_notes(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = str(tmp_path / "model.pth")
    save_checkpoint(Path(weights), decided_model())
    for image in (data / "train").iterdir():
        image.write_text("not an image")
    assert _show(data, tmp_path / "out", "--weights", weights, "--device", "cpu") == 1
    captured = capsys.readouterr()
    assert "0 images, 0 errors\n4 images could not be read: " in captured.out
    assert (tmp_path / "out" / "index.png").is_file()
