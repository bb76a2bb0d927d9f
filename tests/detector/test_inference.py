"""Detection from Python: the lines of the documentation, equal results, thresholds, categories."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fcos
import numpy as np
import pytest
import torch
from fcos.cli import main
from fcos.data.images import load_image
from fcos.detection.inference import Detector, ImageDetections
from fcos.models import FCOS
from fcos.preprocessing import Preprocessing
from fcos.structures import pad_images
from fcos.training.checkpoint import save_checkpoint
from PIL import Image

from tests.repository import REPOSITORY

from .helpers import decided_model, same_detections

WIDTH, HEIGHT = 48, 40


def _noise(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def detector() -> Detector:
    return Detector(decided_model())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last.pth", decided_model())
    return tmp_path / "last.pth"


def test_the_lines_of_the_documentation(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    for name in ("street.jpg", "park.jpg"):
        Image.fromarray(_noise()).save(name)
    lines = inspect.getdoc(fcos).split("From Python:\n")[1]  # type: ignore[union-attr]
    exec(textwrap.dedent(lines), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed and {line.split()[0] for line in printed} <= {"ball", "cup", "hat"}


def test_the_lines_of_the_readme(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename("FILE")
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    (lines,) = [block for block in blocks if "import fcos\n" in block]
    values = {"images": [_noise(), Image.fromarray(_noise())]}
    exec(lines, values)
    assert [found.names for found in values["detections"]] == [
        found.names for found in Detector(decided_model())(values["images"])
    ]


def test_equals_the_model_by_hand(detector: Detector) -> None:
    image = Image.fromarray(_noise())
    (found,) = detector(image)
    model = detector.model
    batch = pad_images([model.config.preprocessing.image(image)])
    with torch.no_grad():
        expected = model.detect(batch, original_sizes=torch.tensor([[HEIGHT, WIDTH]]))
    count = int(expected.count[0])
    assert count > 10
    assert torch.equal(found.boxes, expected.boxes[0, :count])
    assert torch.equal(found.scores, expected.scores[0, :count])
    assert torch.equal(found.labels, expected.labels[0, :count])
    channels = found.labels.tolist()
    assert set(channels) == {0, 1, 2}
    assert found.category_ids == [(3, 7, 40)[channel] for channel in channels]
    assert found.names == [("ball", "cup", "hat")[channel] for channel in channels]


def test_what_comes_back(detector: Detector) -> None:
    (found,) = detector(_noise())
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    assert found.labels.dtype == torch.int64 and found.boxes.shape == (len(found.scores), 4)
    assert (
        found.boxes.min() >= 0 and (found.boxes.max(0).values <= torch.tensor([48, 40] * 2)).all()
    )
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert not any(t.is_inference() for t in (found.boxes, found.scores, found.labels))
    assert detector.class_names == detector.config.class_names == ("ball", "cup", "hat")


def test_equals_fcos_detect(checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(_noise()).save(tmp_path / "a.png")
    options = ["--weights", str(checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["detect", *options, "--min-score", "0.6", str(tmp_path / "a.png")]) == 0
    (entry,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    (found,) = fcos.load(checkpoint, "cpu")(tmp_path / "a.png", min_score=0.6)
    assert 0 < len(found.names) == len(entry["detections"])
    for ours, row in zip(found.to_coco(), entry["detections"], strict=True):
        assert ours == {key: row[key] for key in ("category_id", "bbox", "score")}
    assert found.names == [row["category"] for row in entry["detections"]]


def test_one_image_many_and_none(detector: Detector) -> None:
    images = [_noise(seed=seed) for seed in range(3)]
    single = [detector(image)[0] for image in images]
    several: list[object] = [images, tuple(images), iter(images), (image for image in images)]
    for given in several:
        found = detector(given)  # type: ignore[arg-type]
        assert len(found) == 3
        for ours, theirs in zip(found, single, strict=True):
            same_detections(ours, theirs)
    assert detector([]) == detector(iter(())) == []


def test_images_do_not_change_what_is_found_on_others() -> None:
    """Group normalisation would see the padding that others ask for."""
    detector = Detector(decided_model(preprocessing=Preprocessing(32, 96)))
    shapes = [(32, 32), (32, 80), (32, 32), (30, 32), (64, 32), (64, 32), (64, 32), (32, 32)]
    images = [_noise(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    alone = [detector(image)[0] for image in images]
    for batch in (1, 2, 8):
        found = detector(images, batch=batch)
        for ours, theirs in zip(found, alone, strict=True):
            same_detections(ours, theirs)


@pytest.mark.parametrize(("batch", "calls"), [(1, 5), (2, 3), (3, 2), (8, 1)])
def test_so_many_images_run_together(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, batch: int, calls: int
) -> None:
    sizes = []
    detect = FCOS.detect

    def counted(model: FCOS, images, **more):  # type: ignore[no-untyped-def]
        sizes.append(len(images.tensor))
        return detect(model, images, **more)

    monkeypatch.setattr(FCOS, "detect", counted)
    detector([_noise()] * 5, batch=batch)
    assert len(sizes) == calls and max(sizes) == min(batch, 5) and sum(sizes) == 5


def test_images_are_read_as_they_are_needed(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long video does not have to fit into memory."""
    events = []
    detect = FCOS.detect

    def noted(model: FCOS, images, **more):  # type: ignore[no-untyped-def]
        events.append("detect")
        return detect(model, images, **more)

    def video() -> Iterator[np.ndarray]:
        for _ in range(4):
            events.append("read")
            yield _noise()

    monkeypatch.setattr(FCOS, "detect", noted)
    detector(video(), batch=2)
    assert events == ["read", "read", "detect"] * 2


def test_min_score(detector: Detector) -> None:
    """Below the threshold of the model, at it, and above it; each filters the same detections."""
    image, rule = _noise(), detector.config.postprocess
    (default,) = detector(image)
    (middle,) = detector(image, min_score=0.6)
    kept = default.scores >= 0.6
    assert 0 < kept.sum() < len(kept)
    assert torch.equal(middle.boxes, default.boxes[kept])
    assert middle.names == default.names[: len(middle.names)]
    assert detector(image, min_score=1)[0].names == []
    rule = rule._replace(threshold_on="score", score_threshold=0.6)
    strict = Detector(decided_model(postprocess=rule))
    same_detections(strict(image)[0], middle)
    same_detections(strict(image, min_score=0.0)[0], detector(image, min_score=0.0)[0])
    assert len(strict(image, min_score=np.float32(0.5))[0].names) > len(middle.names)


def test_channels_without_a_category_are_left_out() -> None:
    image = _noise()
    (whole,) = Detector(decided_model())(image)
    names, ids = ("__background__", "", "hat"), (None, 7, 40)
    (found,) = Detector(decided_model(class_names=names, category_ids=ids))(image)
    kept = whole.labels > 0
    assert 0 < kept.sum() < len(kept)
    assert torch.equal(found.labels, whole.labels[kept])
    assert torch.equal(found.boxes, whole.boxes[kept])
    assert set(found.category_ids) == {7, 40} and set(found.names) == {"category 7", "hat"}


def test_the_model_may_have_been_training(detector: Detector) -> None:
    (before,) = detector(_noise())
    detector.model.train()
    same_detections(detector(_noise())[0], before)
    assert not detector.model.training


def test_other_sizes_of_images(detector: Detector) -> None:
    """`fcos detect --size`."""
    (larger,) = Detector(detector.model, Preprocessing(80, 128))(_noise())
    assert len(larger.names) and not torch.equal(larger.scores, detector(_noise())[0].scores)


def test_threads(detector: Detector) -> None:
    images = [_noise(seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector, images))
    for image, (found,) in zip(images, together, strict=True):
        same_detections(found, detector(image)[0])


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_devices(checkpoint: Path, device: torch.device | str | None) -> None:
    detector = fcos.load(str(checkpoint), device)
    expected = "cuda" if device is None and torch.cuda.is_available() else "cpu"
    assert next(detector.model.parameters()).device.type == expected
    (found,) = detector(_noise())
    assert found.boxes.device.type == "cpu" and len(found.names)


def test_a_device_that_is_not_there(checkpoint: Path) -> None:
    with pytest.raises(RuntimeError, match="device"):
        fcos.load(checkpoint, "gpu")


def test_from_checkpoint(checkpoint: Path) -> None:
    model = fcos.FCOS.from_checkpoint(checkpoint)
    assert isinstance(model, FCOS) and not model.training
    same_detections(Detector(model)(_noise())[0], fcos.load(checkpoint, "cpu")(_noise())[0])


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    """The errors of `load_model`."""
    (tmp_path / "text.pth").write_text("x")
    for load in (fcos.load, fcos.FCOS.from_checkpoint):
        with pytest.raises(FileNotFoundError, match="none.pth"):
            load(tmp_path / "none.pth")
        for name in ("text.pth", ""):
            with pytest.raises((fcos.errors.UserError, OSError), match=str(tmp_path / name)):
                load(tmp_path / name)


def test_detections_as_coco_rows() -> None:
    boxes, labels = torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([1])
    found = ImageDetections(boxes, torch.tensor([0.5]), labels, [7], ["cup"])
    assert found.to_coco() == [{"category_id": 7, "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.5}]


def test_photos_are_turned_upright(detector: Detector, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_noise()).save(tmp_path / "a.png", exif=exif)
    upright = load_image(tmp_path / "a.png")
    assert upright.size == (HEIGHT, WIDTH)
    (found,) = detector(tmp_path / "a.png")
    same_detections(found, detector(upright)[0])
    assert found.boxes[:, 3].max() > HEIGHT
    with Image.open(tmp_path / "a.png") as image:  # as it is
        same_detections(detector(image)[0], detector(_noise())[0])
