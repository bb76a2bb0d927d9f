"""`fcos detect` on many files, such as the frames of a video, and its results for COCO's tools."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fcos.cli import main
from fcos.detection.ahead import ahead
from fcos.detection.image_ids import ids_of_names, images_of_file
from fcos.detection.inputs import find_images
from fcos.files import json_list
from fcos.training.checkpoint import save_checkpoint
from PIL import Image
from pycocotools.coco import COCO

from .helpers import decided_model


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Twelve frames of two sizes, of which the fifth is broken."""
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(1, 13):
        size = (40, 48, 3) if i < 9 else (70, 48, 3)
        Image.fromarray(rng.integers(0, 256, size).astype(np.uint8)).save(folder / f"frame{i}.png")
    (folder / "frame5.png").write_text("not an image")
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> str:
    save_checkpoint(tmp_path / "model.pth", decided_model())
    return str(tmp_path / "model.pth")


def _detect(weights: str, output: Path, *more: str) -> int:
    options = ["--weights", weights, "--output", str(output), "--device", "cpu"]
    return main(["detect", *options, *more])


def _read(output: Path, name: str = "detections.json") -> list[dict[str, Any]]:
    return json.loads((output / name).read_text())


def test_names_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    names = ["a1/f2.png", "a1/f10.png", "a2/f1.png", "a10/f1.png", "f01.png", "f1.png", "f-1.png"]
    for name in reversed(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for given in (str(tmp_path), str(tmp_path / "**" / "*.png")):
        found = find_images([given], outside=tmp_path / "out").paths
        assert [str(path.relative_to(tmp_path)) for path in found] == names


def test_any_batch_and_threads_find_the_same(frames: Path, weights: str, tmp_path: Path) -> None:
    """But for the last bits; one that cannot be read is listed in its place."""
    reports = []
    for batch, workers in [(1, 1), (4, 3), (20, 2)]:
        output = tmp_path / f"out{batch}"
        options = ["--batch", str(batch), "--workers", str(workers), "--min-score", "0.6"]
        assert _detect(weights, output, str(frames), *options) == 1
        reports.append(_read(output))
        assert len(list(output.glob("*.png"))) == 11
    first = reports[0]
    assert [Path(entry["file"]).stem for entry in first] == [f"frame{i}" for i in range(1, 13)]
    assert ["error" in entry for entry in first] == [i == 5 for i in range(1, 13)]
    assert {len(entry.get("detections", [])) > 0 for entry in first} == {True, False}
    for report in reports[1:]:
        for ours, theirs in zip(first, report, strict=True):
            found, expected = (entry.pop("detections", []) for entry in (dict(ours), theirs))
            assert [row["category_id"] for row in found] == [r["category_id"] for r in expected]
            for one, other in zip(found, expected, strict=True):
                assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-3)
                assert one["score"] == pytest.approx(other["score"], abs=1e-6)


def test_without_pictures(
    frames: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _detect(weights, tmp_path / "out", str(frames / "frame1.png"), "--no-pictures") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["detections.json", "results.json"]
    assert "picture" not in _read(tmp_path / "out")[0]
    assert "pictures" not in capsys.readouterr().out.rsplit("/", 1)[1]


def test_results_are_those_of_the_report(frames: Path, weights: str, tmp_path: Path) -> None:
    assert _detect(weights, tmp_path / "out", str(frames)) == 1
    expected = [
        {"image_id": entry["image_id"], **{k: row[k] for k in ("category_id", "bbox", "score")}}
        for entry in _read(tmp_path / "out")
        for row in entry.get("detections", [])
    ]
    assert expected and _read(tmp_path / "out", "results.json") == expected


def test_pycocotools_loads_results(data: Path, weights: str, tmp_path: Path) -> None:
    """By the ids of an annotation file, which are not those in the names."""
    file = data / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["id"] += 100
    for number, entry in enumerate(content["annotations"], start=1):
        entry.update(id=number, image_id=entry["image_id"] + 100)
        entry.setdefault("iscrowd", 0)
    file.write_text(json.dumps(content))
    options = ["--annotations", str(file), "--no-pictures"]
    assert _detect(weights, tmp_path / "out", str(data / "train"), *options) == 0
    loaded = COCO(str(file)).loadRes(str(tmp_path / "out" / "results.json"))
    assert {entry["image_id"] for entry in loaded.dataset["annotations"]} == {111, 112, 113, 114}


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000000000139.jpg", "7.png"], [139, 7]),
        (["frame10.jpg", "b/7.png"], ["frame10", 7]),
        (["a/1.jpg", "b/1.jpg", "c.jpg"], [1, 2, 3]),
        (["1.jpg", "001.jpg"], [1, 2]),
        (["\N{SUPERSCRIPT TWO}.jpg"], ["\N{SUPERSCRIPT TWO}"]),
    ],
)
def test_ids_of_names(names: list[str], ids: list[int | str]) -> None:
    assert ids_of_names([Path(name) for name in names]) == ids


def test_boxes_are_in_the_pixels_that_an_annotation_file_means(
    weights: str, tmp_path: Path
) -> None:
    """A photo that EXIF turns has another width upright than stored; a size that is neither of the
    two is listed as an error."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png", exif=exif)
    file = _annotations(tmp_path / "a.json", "1.png")
    content = json.loads(file.read_text())
    options = [str(tmp_path / "1.png"), "--annotations", str(file), "--overwrite"]
    for width, height in [(56, 40), (40, 56), (None, None)]:
        content["images"][0].update(width=width, height=height)
        file.write_text(json.dumps(content))
        assert _detect(weights, tmp_path / "out", *options) == 0
        (entry,) = _read(tmp_path / "out")
        assert (entry["width"], entry["height"]) == ((width or 40), (height or 56))
        assert max(row["bbox"][0] + row["bbox"][2] for row in entry["detections"]) <= entry["width"]
    content["images"][0].update(width=41, height=56)
    file.write_text(json.dumps(content))
    assert _detect(weights, tmp_path / "out", *options) == 1
    assert "must have 41 x 56 pixels" in _read(tmp_path / "out")[0]["error"]


def _annotations(path: Path, *names: str) -> Path:
    images = [{"id": 10 * i, "file_name": name} for i, name in enumerate(names, start=1)]
    categories = [{"id": 1, "name": "a"}]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    return path


def test_ids_of_a_file_are_found_by_the_ends_of_paths(tmp_path: Path) -> None:
    file = _annotations(tmp_path / "a.json", "1.jpg", "day/2.jpg", "night/2.jpg", "x\\3.jpg")
    paths = [Path(p) for p in ("photos/night/2.jpg", "photos/1.jpg", "day/2.jpg", "3.jpg")]
    assert [image.image_id for image in images_of_file(paths, file)] == [30, 10, 20, 40]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["1.jpg", "4.jpg", "5.jpg"],
            "must list every image, got 2 of 3 that it does not",
        ),
        (
            ["a/1.jpg", "b/1.jpg"],
            "an id of its own for b/1.jpg, got that of a/1.jpg, too",
        ),
        (["2.jpg"], "must have an id of its own for 2.jpg, got the ids 20, 30"),
    ],
)
def test_ids_that_a_file_does_not_give(paths: list[str], message: str, tmp_path: Path) -> None:
    file = _annotations(tmp_path / "a.json", "1.jpg", "day/2.jpg", "night/2.jpg")
    with pytest.raises(ValueError, match=message):
        images_of_file([Path(path) for path in paths], file)


def test_a_video_is_refused_with_what_to_do(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "my clip.MP4"
    video.touch()
    folder = str(tmp_path / "my clip")
    command = f"mkdir '{folder}' && ffmpeg -i '{video}' -q:v 2 '{folder}/%06d.jpg'"
    for given in (str(video), str(tmp_path / "*.MP4")):
        assert _detect(weights, tmp_path / "out", given) == 2
        assert f"got the video {video}: make frames of it by {command}" in capsys.readouterr().err


def test_work_ahead_is_in_order_and_limited() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            started.append(item)
        if item == 8:
            raise ValueError("8")
        return 10 * item

    with ThreadPoolExecutor(3) as pool:
        results = ahead(pool, work, range(100), 4)
        for item in range(8):
            assert next(results) == 10 * item
            assert max(started) < item + 4
        with pytest.raises(ValueError, match="8"):
            next(results)


def test_a_list_is_written_up_to_an_error(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    with json_list(path):
        assert not path.exists()
    assert json.loads(path.read_text()) == []
    with pytest.raises(KeyError, match="stop"), json_list(path) as append:
        append({"a": 1})
        append({"b": 2})
        raise KeyError("stop")
    assert json.loads(path.read_text()) == [{"a": 1}, {"b": 2}]
    assert path.read_text().count("\n") == 1 and [p.name for p in tmp_path.iterdir()] == [path.name]
