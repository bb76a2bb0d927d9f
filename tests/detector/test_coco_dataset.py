"""Data: categories, cleaning of boxes, resize, flip, batches, and errors that name the fault."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from fcos.data import CocoDataset, collate, evaluation_loader, find_split, training_loader
from fcos.data.augmentation import View
from fcos.data.transforms import flip_boxes
from fcos.errors import UserError
from fcos.preprocessing import Preprocessing
from PIL import ExifTags, Image

from .helpers import annotation, image_entry, write_dataset


def test_categories_follow_their_ids(dataset: CocoDataset) -> None:
    assert dataset.category_ids == (3, 7, 40)
    assert dataset.class_names == ("ball", "cup", "hat")
    assert dataset.sample(0).labels.tolist() == [1, 0]


def test_crowd_is_left_out_of_training_and_kept_for_evaluation(dataset: CocoDataset) -> None:
    assert dataset.sample(1).labels.tolist() == [2]
    crowds = [a for a in dataset.ground_truth()["annotations"] if a["iscrowd"]]
    assert [a["image_id"] for a in crowds] == [12]


def test_grey_image_becomes_rgb(dataset: CocoDataset) -> None:
    image = dataset.sample(1).image
    assert image.shape[0] == 3 and image.isfinite().all()


def test_image_without_boxes(dataset: CocoDataset) -> None:
    sample = dataset.sample(2)
    assert sample.boxes.shape == (0, 4) and sample.labels.shape == (0,)


def test_boxes_are_clipped_and_slivers_dropped(dataset: CocoDataset) -> None:
    sample = dataset.sample(3)
    assert sample.boxes.tolist() == [[0, 50, 20, 64], [8, 8, 24, 24]]
    assert sample.labels.tolist() == [0, 1]


def test_missing_iscrowd_and_area_are_filled(dataset: CocoDataset) -> None:
    truth = dataset.ground_truth()["annotations"]
    assert [a["id"] for a in truth] == list(range(1, 9))
    assert truth[-1]["area"] == 256 and truth[-1]["iscrowd"] == 0


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (800, 1067)),
        (333, 1000, (444, 1333)),
        (800, 800, (800, 800)),
        (1, 5000, (1, 1333)),
    ],
)
def test_resized_size(height: int, width: int, expected: tuple[int, int]) -> None:
    assert Preprocessing().resized_size(height, width) == expected


def test_contents_say_what_is_left_out_and_why(dataset: CocoDataset) -> None:
    expected = "4 images, 1 without boxes, 5 boxes; left out: 1 crowd, 2 under a pixel"
    assert str(dataset.contents) == expected
    assert sum(len(dataset.sample(i).boxes) for i in range(4)) == dataset.contents.boxes


def test_boxes_outside_are_counted_apart(tmp_path: Path) -> None:
    boxes = [[32, 0, 5, 5], [-9, 0, 9, 5], [0, -9, 5, 9], [0, 40, 5, 5], [31, 31, 5, 5]]
    entries = [annotation(1, 3, box) for box in boxes]
    write_dataset(tmp_path, "train", [image_entry(1, 32, 32)], entries)
    dataset = CocoDataset(*find_split(tmp_path, "train"))
    assert dataset.contents.left_out == {"outside": 4} and dataset.contents.boxes == 1
    assert dataset.sample(0).boxes.shape == (1, 4)


def test_annotations_of_images_that_are_not_listed(tmp_path: Path) -> None:
    entries = [annotation(1, 3, [0, 0, 9, 9]), annotation("1", 3, [0, 0, 9, 9])]
    write_dataset(tmp_path, "train", [image_entry(1, 32, 32)], entries)
    split = find_split(tmp_path, "train")
    message = r"annotations\[1\].image_id .* ints such as 1, got the str '1'; so do 1 of 2"
    with pytest.raises(UserError, match=message):
        CocoDataset(*split)
    contents = CocoDataset(*split, limit=1).contents
    assert str(contents).endswith("1 boxes; left out: 1 of images not listed")


def test_boxes_scale_with_the_image(data: Path) -> None:
    dataset = CocoDataset(*find_split(data, "train"), Preprocessing(size=96, max_size=200))
    sample = dataset.sample(0)
    assert sample.image.shape == (3, 96, 128)
    assert sample.original_size == (48, 64)
    assert sample.boxes.tolist() == [[8, 12, 48, 60], [60, 20, 110, 80]]


def test_flip_mirrors_pixels_and_boxes(dataset: CocoDataset) -> None:
    plain, flipped = dataset.sample(0), dataset.sample(0, View(flip=True))
    assert torch.equal(flipped.image, plain.image.flip(2))
    width = plain.image.shape[2]
    assert torch.equal(flip_boxes(flipped.boxes, width), plain.boxes)
    x1, x2 = plain.boxes[0, 0].item(), plain.boxes[0, 2].item()
    assert flipped.boxes[0, [0, 2]].tolist() == [width - x2, width - x1]
    assert (flipped.boxes[:, 2:] > flipped.boxes[:, :2]).all()


def test_batch_is_padded_to_32_with_zeros(dataset: CocoDataset) -> None:
    samples = [dataset.sample(index) for index in range(4)]
    batch = collate(samples)
    assert batch.images.tensor.shape == (4, 3, 96, 96)
    assert batch.images.sizes.tolist() == [list(s.image.shape[1:]) for s in samples]
    height, width = samples[0].image.shape[1:]
    assert torch.equal(batch.images.tensor[0, :, :height, :width], samples[0].image)
    assert batch.images.tensor[0, :, height:].abs().sum() == 0
    assert batch.truth.offsets.tolist() == [0, 2, 3, 3, 5]


def test_limit(data: Path) -> None:
    dataset = CocoDataset(*find_split(data, "train"), limit=1)
    assert len(dataset) == 1
    assert {a["image_id"] for a in dataset.ground_truth()["annotations"]} == {11}


def _stream(dataset: CocoDataset, workers: int, start: int, count: int) -> list[torch.Tensor]:
    loader = training_loader(dataset, batch=3, seed=5, workers=workers, start_step=start)
    return [batch.images.tensor for batch in islice(loader, count)]


def test_stream_depends_on_seed_and_step_alone(dataset: CocoDataset) -> None:
    """Neither the number of workers nor where a run resumes changes what step k sees."""
    whole = _stream(dataset, 0, 0, 6)
    for other in (_stream(dataset, 2, 0, 6), whole[:2] + _stream(dataset, 0, 2, 4)):
        assert all(torch.equal(a, b) for a, b in zip(whole, other, strict=True))


def test_every_epoch_holds_every_image_once_in_a_new_order(dataset: CocoDataset) -> None:
    loader = training_loader(dataset, batch=4, seed=0)
    epochs = [batch.image_ids for batch in islice(loader, 8)]
    assert all(sorted(ids) == [11, 12, 13, 14] for ids in epochs)
    assert len({tuple(ids) for ids in epochs}) > 1


def test_both_layouts_are_found(tmp_path: Path) -> None:
    write_dataset(tmp_path, "val2017", [image_entry(1, 32, 32)], [])
    expected = (tmp_path / "annotations" / "instances_val2017.json", tmp_path / "val2017")
    assert find_split(tmp_path, "val") == find_split(tmp_path, "val2017") == expected
    with pytest.raises(FileNotFoundError, match="instances_train2017.json"):
        find_split(tmp_path, "train")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_in_one_line(
    data: Path, dataset: CocoDataset, workers: int
) -> None:
    (data / "train" / "11.png").write_text("not an image")
    with pytest.raises(UserError, match="cannot read the image .*11.png") as raised:
        list(evaluation_loader(dataset, batch=2, workers=workers))
    assert "\n" not in str(raised.value)


def test_images_are_checked_to_exist_before_any_is_loaded(data: Path) -> None:
    for name in ("12.png", "14.png"):
        (data / "train" / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"train/12.png \(2 of 4 are missing\)"):
        CocoDataset(*find_split(data, "train"))


def test_annotation_file_is_not_changed_by_use(data: Path, dataset: CocoDataset) -> None:
    content = json.loads((data / "annotations" / "instances_train.json").read_text())
    dataset.ground_truth()["annotations"][0]["bbox"] = "spoilt"
    assert dataset.ground_truth()["annotations"][0]["bbox"] == content["annotations"][0]["bbox"]


def test_a_size_that_is_not_stated_is_that_of_the_upright_image(tmp_path: Path) -> None:
    """A photo upside down has one size both ways: only EXIF tells how it stands."""
    boxes = [annotation(1, 3, [0, 0, 9, 9]), annotation(1, 3, [40, 0, 9, 9])]
    write_dataset(tmp_path, "train", [image_entry(1, 32, 32)], boxes)
    file, folder = find_split(tmp_path, "train")
    image = Image.new("RGB", (32, 32))
    image.paste("white", (0, 0, 9, 9))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 3
    image.save(folder / "1.png", exif=exif)
    content = json.loads(file.read_text())
    del content["images"][0]["width"], content["images"][0]["height"]
    file.write_text(json.dumps(content))
    dataset = CocoDataset(file, folder)
    assert dataset.load(0).getpixel((31, 31)) == (255, 255, 255)
    assert dataset.contents.left_out == {"outside": 1}
