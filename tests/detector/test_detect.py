"""`fcos detect` on what people give it: folders, patterns, broken files, folders in use."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fcos.cli import main
from fcos.detection import files as detection
from fcos.detection.inference import Detector
from fcos.detection.inputs import find_images
from fcos.preprocessing import Preprocessing
from fcos.training.checkpoint import save_checkpoint
from PIL import Image

from .helpers import small_model


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photos of which two are broken, and what else lies in a folder of photos."""
    folder = tmp_path / "photos"
    (folder / "day").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(10):
        path = folder / ("day" if i % 2 else "") / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (40, 48, 3)).astype(np.uint8)).save(path)
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    (folder / "day" / "7.png").write_text("not an image")
    (folder / "notes.txt").write_text("x")
    (folder / "._0.png").write_text("a file of another system")
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> str:
    model = small_model(preprocessing=Preprocessing(40, 64))
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, 2.0)
    save_checkpoint(tmp_path / "model.pth", model)
    return str(tmp_path / "model.pth")


def _detect(weights: str, output: Path, *more: str) -> int:
    options = ["--weights", weights, "--output", str(output), "--device", "cpu"]
    return main(["detect", *options, *more])


def _report(output: Path) -> list[dict[str, Any]]:
    return json.loads((output / "detections.json").read_text())


def test_two_broken_photos_of_ten(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _detect(weights, tmp_path / "out", str(photos)) == 1
    report = _report(tmp_path / "out")
    assert len(report) == 10 and len(list((tmp_path / "out").glob("*.png"))) == 8
    errors = {Path(entry["file"]).name: entry["error"] for entry in report if "error" in entry}
    assert list(errors) == ["2.png", "7.png"]
    assert all("cannot read the image" in error for error in errors.values())
    good = [entry for entry in report if "error" not in entry]
    assert all((entry["width"], entry["height"]) == (48, 40) for entry in good)
    objects = sum(len(entry["detections"]) for entry in good)
    captured = capsys.readouterr()
    assert f"8 images, {objects} objects from 0.3 on\n2 files could not be read" in captured.out
    assert captured.err.count("fcos: cannot read the image") == 2 and "image/s" in captured.err


def test_all_is_well_exits_with_0(photos: Path, weights: str, tmp_path: Path) -> None:
    assert _detect(weights, tmp_path / "out", str(photos / "0.png"), str(photos / "4.png")) == 0


def test_folders_and_patterns(photos: Path, tmp_path: Path) -> None:
    def names(*arguments: str) -> list[str]:
        return [path.name for path in find_images(arguments, outside=photos / "day" / "out").paths]

    everything = [f"{i}.png" for i in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)]
    (photos / "day" / "out").mkdir()
    (photos / "day" / "out" / "0.png").touch()  # of an earlier run
    assert names(str(photos)) == everything
    assert names(str(photos / "*.png")) == ["0.png", "2.png", "4.png", "6.png", "8.png"]
    assert names(str(photos / "**" / "[13].png")) == ["1.png", "3.png"]
    (photos / "[13].png").touch()  # a file of that name is meant before the pattern
    assert names(str(photos / "[13].png"), str(photos / "4.png")) == ["[13].png", "4.png"]
    (photos / "A.JPG").touch()
    assert "A.JPG" in names(str(photos))


def test_only_an_output_below_the_folder_is_passed_over(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the two are spelled; what is left out is counted."""
    monkeypatch.chdir(photos.parent)
    for name, outside, count in [
        ("photos", ".", 10),
        (str(photos), str(photos.parent), 10),
        ("photos", "photos", 10),
        ("photos/**/*.png", "photos", 10),
        ("photos/day/*.png", "photos/day", 5),
        (str(photos), "photos/day", 5),
        ("photos/../photos", str(photos / "day"), 5),
        ("photos/**/*.png", "photos/day", 5),
        (str(photos / "**" / "*.png"), "photos/../photos/day", 5),
        ("*/*/*.png", "photos/night", 5),
    ]:
        paths, left_out = find_images([name], outside=Path(outside))
        assert len(paths) == count, (name, outside)
        passed_over = left_out.get("in the output folder", 0)
        assert passed_over == (5 if outside.endswith("day") and name != "photos/day/*.png" else 0)
    with pytest.raises(FileNotFoundError, match=r"out: 1 in the output folder\)"):
        (photos / "new" / "out").mkdir(parents=True)
        (photos / "new" / "out" / "0.png").touch()
        find_images(["photos/new"], outside=photos / "new" / "out")


def test_an_output_above_the_photos(photos: Path, weights: str) -> None:
    assert _detect(weights, photos.parent, str(photos)) == 1
    assert len(_report(photos.parent)) == 10


def test_a_run_does_not_take_its_own_pictures(
    photos: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    for names in ([str(photos)], ["photos/**/*.png"]):
        for _ in range(2):
            assert _detect(weights, Path("photos/out"), *names, "--overwrite") == 1
            assert len(_report(photos / "out")) == 10


def test_files_are_taken_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    names = ["0.png", str(photos / "0.png"), "day/../0.png", str(photos), "*.png", "day"]
    assert len(find_images(names, outside=photos / "out").paths) == 10
    (photos / "copy.png").symlink_to(photos / "0.png")
    assert len(find_images(["0.png", "copy.png"], outside=photos / "out").paths) == 2


def test_what_a_folder_leaves_out_is_said(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    for name in ("a.HEIC", "b.heic", "README"):
        (photos / name).touch()
    (photos / "c.jpe").touch()
    assert _detect(weights, tmp_path / "out", str(photos)) == 1
    expected = "left out: 2 .heic, 1 .txt, 1 hidden, 1 linked folders, 1 without a suffix\n"
    assert capsys.readouterr().out.startswith(expected)
    assert "c.jpe" in {Path(entry["file"]).name for entry in _report(tmp_path / "out")}


def test_an_empty_name_is_not_the_current_folder(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _detect(weights, tmp_path / "out", "") == 2
    assert "IMAGE must be a file, a folder or a pattern" in capsys.readouterr().err


def test_names_of_any_length(photos: Path, weights: str, tmp_path: Path) -> None:
    names = ["a" * 251 + ".png", "a" * 250 + ".tiff", "\N{SNOWMAN}" * 85]
    for name in names:
        (photos / name).write_bytes((photos / "0.png").read_bytes())
    assert _detect(weights, tmp_path / "out", *(str(photos / name) for name in names)) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_a_folder_in_the_place_of_a_picture(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("4.png", "detections.json"):
        (tmp_path / "out" / name).mkdir(parents=True)
        files = [str(photos / f"{i}.png") for i in (0, 4)]
        assert _detect(weights, tmp_path / "out", *files, "--overwrite") == 2
        assert f"{name} must be an ordinary file, got a folder" in capsys.readouterr().err
        assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
        (tmp_path / "out" / name).rmdir()


def test_paths_are_checked_before_anything_is_done(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even before the weights are read, which are not there."""
    (tmp_path / "empty").mkdir()
    for wrong, message in [
        (["x" * 5000], "image not found: " + "x" * 300 + "...\n"),
        (["none.jpg", "no*.png"], "image not found: none.jpg (and 1 more)"),
        ([str(photos / "x*.png")], "image not found: "),
        ([str(tmp_path / "empty")], "image not found: no images in the folder"),
    ]:
        assert _detect("none.pth", tmp_path / "out", str(photos / "0.png"), *wrong) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_json_and_summary_hold_what_min_score_says(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = []
    for text in ("0", "0.01", "0.5", "1"):
        output = tmp_path / text
        assert _detect(weights, output, str(photos / "0.png"), "--min-score", text) == 0
        (entry,) = _report(output)
        assert all(found["score"] >= float(text) for found in entry["detections"])
        counts.append(len(entry["detections"]))
        assert f"1 images, {counts[-1]} objects from {text} on" in capsys.readouterr().out
    assert counts[0] >= counts[2] > counts[3] == 0


def test_other_sizes_of_images(photos: Path, weights: str, tmp_path: Path) -> None:
    found = []
    for size in ("40", "80"):
        output = tmp_path / size
        assert _detect(weights, output, str(photos / "0.png"), "--size", size) == 0
        found.append(_report(output)[0]["detections"])
    assert found[0] != found[1]


def test_a_preset_does_not_hide_what_is_asked_for(photos: Path, tmp_path: Path) -> None:
    """`torchvision` keeps scores above 0.2 only."""
    model = small_model(preset="torchvision")
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, -3.5)
    detector = Detector(model, Preprocessing(40, 64))
    (found,) = detector(photos / "0.png", min_score=0.05)
    assert 0.05 <= found.scores.min() < 0.2


def test_a_folder_that_holds_another_run(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, image = tmp_path / "out", str(photos / "0.png")
    assert _detect(weights, output, image) == 0
    before = {path: path.read_bytes() for path in output.iterdir()}
    assert _detect(weights, output, image, "--min-score", "1") == 2
    assert "exists: add --overwrite" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in output.iterdir()}
    (output / "detections.json").unlink()  # as left by a run that was killed
    assert _detect(weights, output, image, "--min-score", "1") == 2
    assert _detect(weights, output, image, "--min-score", "1", "--overwrite") == 0
    assert _report(output)[0]["detections"] == []


def test_pictures_never_replace_images(
    photos: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (photos / "0.png").read_bytes()
    assert _detect(weights, photos, str(photos / "0.png"), "--overwrite") == 2
    assert "must be another folder than that of the image" in capsys.readouterr().err
    assert (photos / "0.png").read_bytes() == before


def test_a_signal_keeps_what_was_done(
    photos: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was found is drawn and listed; nothing is drawn that is not listed."""
    save_picture = detection.save_picture

    def signalled(drawn: Image.Image, picture: Path) -> None:
        if picture.name == "3.png":
            os.kill(os.getpid(), signal.SIGINT)
        save_picture(drawn, picture)

    monkeypatch.setattr(detection, "save_picture", signalled)
    output, one_by_one = tmp_path / "out", ["--batch", "1", "--workers", "1"]
    assert _detect(weights, output, str(photos / "day"), *one_by_one) == 130
    entries = _report(output)
    assert 2 <= len(entries) < 5 and [e["picture"] for e in entries[:2]] == ["1.png", "3.png"]
    assert {path.name for path in output.glob("*.png")} == {e["picture"] for e in entries}
    results = json.loads((output / "results.json").read_text())
    assert {result["image_id"] for result in results} == {e["image_id"] for e in entries}
    assert "fcos: interrupted by SIGINT" in capsys.readouterr().err


def test_photos_are_turned_upright(weights: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (48, 40)).save(tmp_path / "a.jpg", exif=exif)
    assert _detect(weights, tmp_path / "out", str(tmp_path / "a.jpg")) == 0
    (entry,) = _report(tmp_path / "out")
    assert (entry["width"], entry["height"]) == (40, 48)
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.width < picture.height
