"""Detection from Python: `detector = fcos.load("last.pth")`, then `detector(images)`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import groupby, islice
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from fcos_ops import PostprocessRule

from ..data.pixels import IMAGE_TYPES, KINDS, AnyImage, rgb_image
from ..errors import brief
from ..models import FCOS, ModelConfig
from ..preprocessing import Preprocessing
from ..structures import PAD_MULTIPLE, ImageBatch, pad_images

Item = TypeVar("Item")


class ImageDetections(NamedTuple):
    """What was found on an image, best score first; N objects, on the CPU.

    Attributes:
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the image that was given.
        scores: float32 [N], 0 to 1.
        labels: int64 [N], channel of the class.
        category_ids: the dataset's id of each.
        names: of the category of each; "category <id>" where it is not known.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    category_ids: list[int]
    names: list[str]

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO's result format without the image_id: category_id, bbox (x y width height), score of
        each."""
        corners, ends = self.boxes.split(2, dim=1)
        bboxes = torch.cat((corners, ends - corners), dim=1).tolist()
        rows = zip(self.category_ids, bboxes, self.scores.tolist(), strict=True)
        return [{"category_id": number, "bbox": box, "score": score} for number, box, score in rows]


def load(path: str | os.PathLike[str], device: torch.device | str | None = None) -> Detector:
    """The detector of a file of weights.

    Args:
        path: see `FCOS.from_checkpoint`.
        device: where it runs; None: on CUDA if there is any, else on the CPU.

    Raises: as `FCOS.from_checkpoint`.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Detector(FCOS.from_checkpoint(path, device))


class Detector:
    """Finds objects on images: see `__call__`, which may run in several threads at once.

    Attributes:
        model: put into evaluation mode by each call.
        preprocessing: how images become its input; the config's, unless another was given.
    """

    def __init__(self, model: FCOS, preprocessing: Preprocessing | None = None) -> None:
        self.model = model
        self.preprocessing = preprocessing or model.config.preprocessing

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per channel; "" where it is not known."""
        return self.config.class_names

    def __call__(
        self,
        images: AnyImage | Iterable[AnyImage],
        *,
        min_score: float | None = None,
        batch: int = 8,
    ) -> list[ImageDetections]:
        """The detections of each image, in order; a list of one for a single image.

        Args:
            images: an image, or any iterable of images, which is read as it is needed. Each is
                a path: turned upright, as EXIF says;
                a PIL image of any mode: as it is, not turned;
                a numpy array [H, W, 3] in RGB (OpenCV reads BGR), [H, W, 1] or [H, W];
                a tensor [3, H, W] in RGB, [1, H, W] or [H, W];
                both uint8, or floating point from 0 to 1, which is rounded to 8 bits.
            min_score: detections from this score on; None: as the model's config has it, which
                keeps those above a threshold.
            batch: so many images at most run together: more memory, less time. Only neighbours of
                one padded size do, so that what is found on an image does not depend on others,
                but for the last bits of floating point.

        Raises:
            FileNotFoundError, UserError: a file is not there, or cannot be read as an image.
            TypeError, ValueError: something else is no such image; the message has its place.
        """
        rule, least = self.rule(min_score)
        if not isinstance(batch, Integral) or batch < 1:
            raise ValueError(f"batch must be a whole number from 1 on, got {brief(batch)}")
        self.model.eval()
        found: list[ImageDetections] = []
        prepared = (self.prepare(image, name) for name, image in _named(images))
        for group in alike(prepared, batch, size=lambda image: image.padded_size):
            found += detect_batch(self.model, *join(group), rule, min_score=least)
        return found

    def prepare(self, image: AnyImage, name: str = "image") -> PreparedImage:
        """The network's input; `name` is what errors call the image."""
        rgb = rgb_image(image, name)
        return PreparedImage(self.preprocessing.image(rgb), rgb.height, rgb.width)

    def rule(self, min_score: float | None) -> tuple[PostprocessRule, float]:
        """What finds detections from `min_score` on: the rule, and the least score of its results
        that are wanted. None: as the model's config has it."""
        rule = self.config.postprocess
        if min_score is None:
            return rule, 0.0
        if not isinstance(min_score, Real) or not 0 <= min_score <= 1:
            raise ValueError(f"min_score must be a number from 0 to 1, got {brief(min_score)}")
        least = float(min_score)
        # the threshold may be of the class alone, and then lets through more than is wanted
        return rule._replace(score_threshold=min(rule.score_threshold, least)), least


class PreparedImage(NamedTuple):
    """An image as the network takes it.

    Attributes:
        pixels: float32 [3, H, W], resized and normalised.
        height, width: of the image before.
    """

    pixels: Tensor
    height: int
    width: int

    @property
    def padded_size(self) -> tuple[int, ...]:
        """Of the batch that it goes into, in units of PAD_MULTIPLE."""
        return tuple(-(-side // PAD_MULTIPLE) for side in self.pixels.shape[1:])


def alike(
    items: Iterable[Item], batch: int, *, size: Callable[[Item], tuple[int, ...] | None]
) -> Iterator[list[Item]]:
    """Neighbours of one size together, `batch` at most: what is found on an image then does not
    depend on the others of its batch."""
    for _, own in groupby(items, key=size):
        while group := list(islice(own, batch)):
            yield group


def join(images: Sequence[PreparedImage]) -> tuple[ImageBatch, Tensor]:
    """A batch, and int64 [B, 2], the (height, width) of each image before."""
    sizes = torch.tensor([(image.height, image.width) for image in images], dtype=torch.int64)
    return pad_images([image.pixels for image in images]), sizes


def detect_batch(
    model: FCOS,
    images: ImageBatch,
    original_sizes: Tensor,
    rule: PostprocessRule | None = None,
    *,
    min_score: float = 0.0,
) -> list[ImageDetections]:
    """The detections of a batch, of the categories that the config knows.

    Args:
        model: in evaluation mode.
        images, original_sizes, rule: see `FCOS.detect`; on any device.
        min_score: detections from this score on.
    """
    config, device = model.config, next(model.parameters()).device
    with torch.inference_mode():
        detections = model.detect(
            images.to(device), original_sizes=original_sizes.to(device), rule=rule
        )
    known = torch.tensor([number is not None for number in config.category_ids])
    found = []
    for boxes, scores, labels, count in zip(*(t.cpu() for t in detections), strict=True):
        boxes, scores, labels = (t[:count] for t in (boxes, scores, labels))
        kept = known[labels] & (scores.double() >= min_score)
        # what a mask takes out is an ordinary tensor again, which autograd accepts
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        channels = labels.tolist()
        ids = [config.category_ids[channel] for channel in channels]
        names = [config.category_name(channel) for channel in channels]
        found.append(ImageDetections(boxes, scores, labels, ids, names))
    return found


def _named(images: AnyImage | Iterable[AnyImage]) -> Iterator[tuple[str, AnyImage]]:
    """Each image and what errors call it."""
    if isinstance(images, IMAGE_TYPES):
        yield "images", images
    elif isinstance(images, Iterable) and not isinstance(images, bytes | Mapping | Set):
        for index, image in enumerate(images):
            yield f"images[{index}]", image
    else:
        raise TypeError(f"images must be {KINDS}, or a list of them, got {type(images).__name__}")
