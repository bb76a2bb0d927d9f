"""What a training does to images: sizes and colours as they are defined, drawn for each image."""

from __future__ import annotations

import colorsys
from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from fcos.cli import main
from fcos.data import CocoDataset, training_loader
from fcos.data.augmentation import DRAWS, Augmentation, Colours, View
from fcos.data.order import stream_generator
from fcos.data.scales import parse_scales
from fcos.errors import UserError
from fcos.preprocessing import PREPROCESSING, Preprocessing
from PIL import Image, ImageOps

SAME = Colours(1, 1, 1, 0)


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("off", ()),
        ("640-643", (640, 641, 642, 643)),
        ("640, 800", (640, 800)),
        ("480-482,600,800-800", (480, 481, 482, 600, 800)),
        ("1", (1,)),
    ],
)
def test_scales(text: str, sides: tuple[int, ...]) -> None:
    assert parse_scales(text) == sides


@pytest.mark.parametrize(
    "text",
    [
        *("", "on", "0", "640:800", "-640", "640-", "1e3", "800,640", "640,640", "640-800,700"),
        *("100001", "1-1000000", "640.5", "640;800", None, 640, (640, 800), "٦٤٠x"),
    ],
)
def test_scales_that_are_none(text: Any) -> None:
    with pytest.raises(
        UserError, match=r"scales must be 'off', or rising whole .*, got "
    ) as raised:
        parse_scales(text)
    assert len(str(raised.value)) < 300


def _noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.float64)


def test_colours_that_are_the_same() -> None:
    """Pillow's HSV of 8 bits loses up to 7 levels on its way back."""
    image = _noise(40, 60)
    assert np.abs(_array(SAME.apply(image)) - _array(image)).max() <= 7


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.4])
def test_factors_blend_with_black_the_mean_and_grey(factor: float) -> None:
    """A level for what is cut to whole numbers, and 7 of HSV."""
    image = _noise(40, 60)
    grey = _array(ImageOps.grayscale(image))[..., None]
    for change, other in [
        ({"brightness": factor}, 0),
        ({"contrast": factor}, grey.mean()),
        ({"saturation": factor}, grey),
    ]:
        expected = (factor * _array(image) + (1 - factor) * other).clip(0, 255)
        found = _array(SAME._replace(**change).apply(image))
        assert np.abs(found - expected).max() <= 8, change


def test_hue_turns() -> None:
    """In 8 bits of HSV: 7 levels there and back, and 6 for a step of the hue, at its steepest; what
    is rounded in between adds up to less than two."""
    image = _noise(40, 60)
    found = _array(SAME._replace(hue=0.1).apply(image))
    for pixel, turned in zip(_array(image).reshape(-1, 3), found.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel / 255)
        expected = np.array(colorsys.hsv_to_rgb((hue + 0.1) % 1, saturation, value)) * 255
        assert np.abs(turned - expected).max() <= 15


def test_views_are_drawn_as_stated() -> None:
    augmentation = Augmentation(0.3, (640, 672, 800), 0.4)
    rng = np.random.default_rng(0)
    views = [augmentation.view(draws) for draws in rng.random((3000, DRAWS)).tolist()]
    # four standard deviations of a share of 3000
    assert abs(sum(view.flip for view in views) / 3000 - 0.3) < 0.034
    sizes = Counter(view.size for view in views)
    assert set(sizes) == {640, 672, 800}
    assert all(abs(count / 3000 - 1 / 3) < 0.035 for count in sizes.values())
    columns = np.array([view.colours for view in views])
    reach = np.array([0.1, 0.4, 0.4, 0.04])
    low, high = np.array([1, 1, 1, 0]) - reach, np.array([1, 1, 1, 0]) + reach
    assert (columns >= low).all() and (columns <= high).all()
    assert (columns.min(0) < low + reach / 50).all() and (columns.max(0) > high - reach / 50).all()
    others = [(view.flip, view.size) for view in views]
    drawn = np.column_stack([columns, np.array(others, float)])
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.08  # four deviations of nothing


def test_the_ends_of_the_draws() -> None:
    least, most = [0.0] * DRAWS, [1 - 2**-24] * DRAWS
    augmentation = Augmentation(1, (1, 2), 1)
    assert augmentation.view(least) == View(True, 1, Colours(0.75, 0, 0, -0.1))
    assert augmentation.view(most)[:2] == (True, 2)
    assert Augmentation(0).view(least) == View()


def test_what_is_switched_on_changes_nothing_else(dataset: CocoDataset) -> None:
    """A flip is drawn as it was before there were sizes and colours."""
    for position in range(50):
        draws = torch.rand(DRAWS, generator=stream_generator(7, 2 * position + 1))
        assert draws[0] == torch.rand((), generator=stream_generator(7, 2 * position + 1))
        alone, both = (
            Augmentation(0.5, scales, jitter).view(draws.tolist())
            for scales, jitter in (((), 0.0), (range(5, 9), 1.0))
        )
        assert alone.flip == both.flip


def test_each_image_has_its_own_size(dataset: CocoDataset) -> None:
    sizes = set()
    loader = training_loader(dataset, batch=4, seed=0, augmentation=Augmentation(0, range(30, 60)))
    for batch in islice(loader, 5):
        short = batch.images.sizes.min(1).values.tolist()
        sizes.update(short)
        assert all(30 <= side < 60 for side in short)
        # of each axis its own, as the sides become whole
        down, across = (batch.images.sizes / batch.original_sizes)[batch.image_ids.index(12)]
        boxes = dict(
            zip(
                batch.image_ids,
                batch.truth.boxes.split(batch.truth.offsets.diff().tolist()),
                strict=True,
            )
        )
        expected = torch.tensor([[5.0, 5.0, 35.0, 45.0]]) * torch.stack((across, down) * 2)
        torch.testing.assert_close(boxes[12], expected)
    assert len(sizes) > 5
    assert dataset.preprocessing.size == 64


def test_the_long_side_keeps_its_limit(dataset: CocoDataset) -> None:
    assert max(dataset.sample(0, View(size=90)).image.shape) == 96


def _stream(dataset: CocoDataset, workers: int, start: int, count: int) -> list[Any]:
    loader = training_loader(
        dataset,
        batch=3,
        seed=5,
        workers=workers,
        start_step=start,
        augmentation=Augmentation(0.5, range(40, 64), 0.5),
        aspect_groups=True,
    )
    return list(islice(loader, count))


def test_the_stream_depends_on_seed_and_step_alone(dataset: CocoDataset) -> None:
    whole = _stream(dataset, 0, 0, 6)
    for other in (_stream(dataset, 2, 0, 6), whole[:2] + _stream(dataset, 0, 2, 4)):
        for ours, theirs in zip(whole, other, strict=True):
            assert torch.equal(ours.images.tensor, theirs.images.tensor)
            assert torch.equal(ours.truth.boxes, theirs.truth.boxes)
            assert ours.image_ids == theirs.image_ids


@pytest.mark.parametrize("preset", ["improved", "torchvision", "mmdet"])
@pytest.mark.parametrize("size", [20, 40, 76], ids=["smaller", "same", "larger"])
def test_colours_change_where_there_are_fewer_pixels(preset: str, size: int) -> None:
    rule, image, seen = PREPROCESSING[preset]._replace(size=size), _noise(40, 60), []

    def recolour(image: Image.Image) -> Image.Image:
        seen.append(image.size)
        return ImageOps.invert(image)

    found = rule.image(image, recolour)
    after = preset != "torchvision" and size == 20
    assert seen == [(30, 20) if after else (60, 40)]
    # bilinear resizing and inverting may change places, but for a level of rounding
    level = 1 / 255 / min(rule.std)
    torch.testing.assert_close(found, rule.image(ImageOps.invert(image)), rtol=0, atol=1.01 * level)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("max_value", [1.0, 255.0])
def test_a_picture_is_the_image_again(order: Any, max_value: float) -> None:
    image = _noise(40, 60)
    mean, std = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)) if max_value == 1 else ((90, 99, 9), (1, 57, 2))
    rule = Preprocessing(40, 60, channel_order=order, max_value=max_value, mean=mean, std=std)
    assert np.array_equal(np.asarray(rule.picture(rule.image(image))), np.asarray(image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scales", "800-640"], "argument --scales: must be 'off', or rising whole numbers"),
        (["--colour-jitter", "2"], "argument --colour-jitter: must be a number from 0 to 1"),
    ],
)
def test_options_that_are_wrong(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--data", "a", "--output", "b", *options])
    assert message in capsys.readouterr().err.splitlines()[-1]
