"""--val-fraction: a share of a part that training and evaluation agree on."""

from __future__ import annotations

from pathlib import Path

import pytest
from fcos.cli import main
from fcos.data.annotated import AnnotatedImages
from fcos.data.coco import read_coco
from fcos.data.held_out import HeldOut
from fcos.errors import UserError
from fcos.training import load_checkpoint

from .helpers import SMALL, annotation, image_entry, write_dataset


def _images(names: list[str]) -> list[dict[str, str]]:
    return [{"file_name": name} for name in names]


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 10), (0.004, 1), (0.999, 99), (0.255, 26)])
def test_both_shares_are_the_whole(fraction: float, count: int) -> None:
    images = _images([f"{number}.jpg" for number in range(100)])
    held, rest = (HeldOut(fraction, wanted).places(images).tolist() for wanted in (True, False))
    assert len(held) == count and sorted(held + rest) == list(range(100))
    assert held == sorted(held) and rest == sorted(rest)


def test_names_alone_decide() -> None:
    """In another order, and with more images: of which ten, only the last one gives way at most to
    each that is added."""
    names = [f"{number}.jpg" for number in range(100)]

    def held(names: list[str]) -> set[str]:
        return {names[place] for place in HeldOut(10 / len(names), True).places(_images(names))}

    assert held(names) == held(names[::-1]) != set(names[:10])
    assert len(held(names) - held([*names, "new.jpg"])) <= 1


def test_one_image_cannot_be_split() -> None:
    with pytest.raises(UserError, match="must hold two images or more, got 1"):
        HeldOut(0.5, True).places(_images(["a"]))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = [image_entry(number, 64, 48) for number in range(1, 11)]
    # as many boxes as the number of the image, in an order that is not that of the images
    boxes = [
        annotation(number, 3, [times, 2, 20, 20], iscrowd=int(times == 3))
        for times in range(10)
        for number in range(10, times, -1)
    ]
    write_dataset(tmp_path, "train", images, boxes)
    return tmp_path


def test_boxes_stay_with_their_images(data: Path) -> None:
    part = read_coco(data / "annotations" / "instances_train.json", data / "train")
    seen = []
    for wanted in (True, False):
        own = AnnotatedImages(part, held_out=HeldOut(0.3, wanted))
        numbers = [image["id"] for image in own.images]
        assert [len(own.annotations(index)) for index in range(len(own))] == numbers
        crowds = sum(number > 3 for number in numbers)
        assert own.contents.boxes == sum(numbers) - crowds
        assert own.contents.left_out == ({"crowd": crowds} if crowds else {})
        assert {a["image_id"] for a in own.ground_truth()["annotations"]} == set(numbers)
        assert [path.stem for path in own.paths] == [str(number) for number in numbers]
        seen += numbers
    assert sorted(seen) == list(range(1, 11))


def test_train_resume_and_evaluate(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = data / "run"
    arguments = ["train", "--data", str(data), "--output", str(run), "--eval-every", "1"]
    assert main([*arguments, *SMALL, "--steps", "1", "--val-fraction", "0.3"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("train, without the 0.3 held out: 7 images")
    held_out = next(line for line in first.splitlines() if "0.3 of it held out: 3 images" in line)
    assert load_checkpoint(run / "last.pth")["data"]["val_fraction"] == 0.3
    assert main([*arguments, "--resume", "--steps", "2", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert f"\n{held_out}\n" in out and "other than before: steps 1 -> 2\n" in out
    weights = ["--weights", str(run / "last.pth"), "--device", "cpu"]
    assert main(["eval", "--data", str(data), *weights, "--val-fraction", "0.3"]) == 0
    assert capsys.readouterr().out.startswith(f"{held_out}\n3 images, ")
