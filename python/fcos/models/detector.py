"""The FCOS detector: backbone, pyramid, head, and the fcos_ops around them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

import fcos_ops
from fcos_ops import Detections, Level, PostprocessRule

from ..structures import GroundTruth, ImageBatch, join_ground_truth, pad_images
from .config import ModelConfig
from .fpn import FPN
from .head import Head, HeadOutput
from .legacy_boxes import last_pixel_of_original, with_last_pixel
from .resnet import ResNet

STRIDES = (8, 16, 32, 64, 128)
LOSS_NAMES = ("classification", "bbox_regression", "bbox_ctrness")


class Backbone(nn.Module):
    """ResNet body and pyramid: [B, 3, H, W] -> P3 .. P7."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.body = ResNet(
            config.backbone,
            config.norm,
            config.backbone_width,
            norm_eps=config.norm_eps,
            stride_in_1x1=config.stride_in_1x1,
            freeze_at=config.freeze_at,
        )
        extra = config.extra_levels if config.num_levels > len(self.body.out_channels) else None
        self.fpn = FPN(self.body.out_channels, config.width, extra)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.fpn(self.body(images))


class FCOS(nn.Module):
    """FCOS (Tian et al., arXiv 1904.01355 and 2006.09214).

    The names of the weights are those of torchvision's fcos_resnet50_fpn, plus
    `head.regression_head.scales.*` in the presets that have them.
    """

    loss_normalizer: Tensor
    detected_classes: Tensor | None  # bool [num_classes]: those that `detect` gives; None: all

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.variant = config.variant
        self.backbone = Backbone(config)
        self.head = Head(
            config.width,
            config.depth,
            config.num_classes,
            config.variant,
            config.num_levels,
            config.head_norm,
        )
        self.register_buffer("detected_classes", None, persistent=False)
        if self.variant.normalizer == "moving":
            self.register_buffer("loss_normalizer", torch.tensor(300.0))

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike[str], device: torch.device | str = "cpu"
    ) -> FCOS:
        """The model of a file in evaluation mode: a checkpoint of `fcos train` or `fcos convert`,
        with the averaged weights if it has them, or weights of torchvision's fcos_resnet50_fpn.

        Raises:
            FileNotFoundError: no such file.
            UserError: not such a file; the message says where it has to be converted.
        """
        from ..detectors import load_model  # here, as it imports this module

        return load_model(path, device)

    def forward(
        self,
        images: ImageBatch | Sequence[Tensor],
        targets: GroundTruth | Sequence[Mapping[str, Tensor]] | None = None,
        normalizers: Tensor | None = None,
    ) -> dict[str, Tensor] | Detections:
        """Losses in training mode, detections in evaluation mode.

        Args:
            images: a padded batch, or a list of normalised float [3, H, W] images.
            targets: needed in training mode: ragged boxes, or one mapping an image with "boxes"
                [M, 4] (x1 y1 x2 y2, pixels) and "labels" [M] (class channel).
            normalizers: of `normalizers_of_parts`, where this batch is one part of several.

        Returns:
            Training: the scalar losses under the keys of `LOSS_NAMES`, in every preset; train on
            their sum. Evaluation: fcos_ops.Detections in pixels of the images given.

        Raises:
            ValueError: training without targets, or targets of another number of images.
        """
        batch = images if isinstance(images, ImageBatch) else pad_images(images)
        if not self.training:
            return self.detect(batch)
        if targets is None:
            raise ValueError("targets must be given in training mode, got None")
        if not isinstance(targets, GroundTruth):
            targets = join_ground_truth(
                [t["boxes"] for t in targets], [t["labels"] for t in targets]
            )
        if len(targets.offsets) != len(batch.tensor) + 1:
            raise ValueError(
                f"targets must be of {len(batch.tensor)} images, got {len(targets.offsets) - 1}"
            )
        return self.losses(self.head(self.backbone(batch.tensor)), batch, targets, normalizers)

    def levels(self, output: HeadOutput, batch: ImageBatch) -> tuple[Level, ...]:
        """Geometry of the maps in `output`."""
        sizes = [(m.shape[2], m.shape[3]) for m in output.classification]
        return self._levels(sizes, batch.tensor.shape[2:])

    def _levels(
        self, sizes: Sequence[Sequence[int]], image_size: Sequence[int]
    ) -> tuple[Level, ...]:
        """Of maps of these (height, width) over padded images of that."""
        return fcos_ops.pyramid_levels(
            sizes,
            strides=STRIDES[: len(sizes)],
            image_size=image_size,
            rule=self.config.assignment,
        )

    def detect(
        self,
        batch: ImageBatch,
        *,
        original_sizes: Tensor | None = None,
        rule: PostprocessRule | None = None,
    ) -> Detections:
        """Detections [B, D] of a batch; no host synchronisation.

        Args:
            batch: normalised images.
            original_sizes: int64 [B, 2], (height, width) of the images before they were resized for
                the batch: boxes are then in pixels of those, else of the batch.
            rule: how head outputs become detections; None: as the config has it.
        """
        output = self.head(self.backbone(batch.tensor))
        trained, legacy = self.config.assignment, self.config.preprocessing.legacy_boxes
        levels, ltrb = self.levels(output, batch), output.ltrb
        if legacy:
            pairs = zip(ltrb, levels, strict=True)
            ltrb = [with_last_pixel(*pair, batch.sizes, trained) for pair in pairs]
        found = fcos_ops.postprocess(
            output.classification,
            ltrb,
            output.centerness,
            batch.sizes,
            levels=levels,
            original_sizes=original_sizes,
            classes=self.detected_classes,
            rule=self.config.postprocess if rule is None else rule,
            normalized=trained.normalize_ltrb,
            location_offset=trained.location_offset,
        )
        if legacy and original_sizes is not None:
            found = last_pixel_of_original(found, batch.sizes, original_sizes)
        return found

    def losses(
        self,
        output: HeadOutput,
        batch: ImageBatch,
        truth: GroundTruth,
        normalizers: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The three FCOS losses, each a scalar; their normalisers never leave the device.

        normalizers: to divide by instead of the counts of this batch; see `normalizers_of_parts`.
        """

        def normalize(counts: Tensor) -> Tensor:
            return self._normalizers(counts) if normalizers is None else normalizers

        losses = fcos_ops.fcos_loss(
            output.classification,
            output.ltrb,
            output.centerness,
            *truth,
            levels=self.levels(output, batch),
            rule=self.config.assignment,
            loss=self.config.loss,
            normalize=normalize,
        )
        return dict(zip(LOSS_NAMES, losses[: len(LOSS_NAMES)], strict=True))

    def normalizers_of_parts(
        self, image_sizes: Sequence[Sequence[int]], truths: Sequence[GroundTruth]
    ) -> Tensor | None:
        """What to divide the losses of each part of a batch by, so that their sum is the loss of
        the batch: [2], from the boxes and sizes alone, without a forward pass.

        None where the images are normalised one by one: the losses of the parts are then means, and
        so is that of the batch.

        Args:
            image_sizes: (height, width) of the padded images of each part.
            truths: their boxes, on the device.
        """
        if self.config.loss.normalizer == "per_image":
            return None
        counts = []
        for size, truth in zip(image_sizes, truths, strict=True):
            maps = [tuple(-(-side // stride) for side in size) for stride in STRIDES]
            levels = self._levels(maps[: self.config.num_levels], size)
            targets = fcos_ops.assign_targets(levels, *truth, rule=self.config.assignment)
            counts.append(torch.stack([targets.num_pos.float(), targets.centerness_sum.float()]))
        return self._normalizers(torch.stack(counts).sum(0))

    def _normalizers(self, counts: Tensor) -> Tensor:
        """What the variant divides by where the images of a step in this process have `counts`."""
        if self.variant.normalizer == "global":
            return fcos_ops.mean_over_processes(counts)
        if self.variant.normalizer == "local":
            return counts
        self.loss_normalizer.lerp_(counts[0].to(torch.float32).clamp(min=1), 0.1)
        return torch.stack([self.loss_normalizer.to(counts.dtype), counts[1]])
