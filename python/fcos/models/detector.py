"""The FCOS detector: backbone, pyramid, head, and the fcos_ops around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

import fcos_ops
from fcos_ops import Detections, Level, PostprocessRule

from ..errors import brief
from ..structures import GroundTruth, ImageBatch, join_ground_truth, pad_images
from .fpn import FPN
from .head import Head, HeadOutput
from .norm import NormName
from .resnet import BackboneName, ResNet
from .variant import VARIANTS

MAX_CHANNELS = 1 << 16
LOSS_NAMES = ("classification", "bbox_regression", "bbox_ctrness")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build the network again; stored in every checkpoint.

    Attributes:
        class_names: one name per output channel.
        category_ids: the dataset's id of each channel, for result files.
        preset: name of the published variant ("paper", "improved", "torchvision", "detectron2",
            "mmdet").
        backbone, norm, backbone_width: see `ResNet`; 64 is the published width.
        width: channels of the pyramid and of the towers, 256 in the published networks.
        depth: convolutions in each tower, 4 in the published networks.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    preset: str = "improved"
    backbone: BackboneName = "resnet50"
    norm: NormName = "bn"
    backbone_width: int = 64
    width: int = 256
    depth: int = 4

    def __post_init__(self) -> None:
        if len(self.class_names) != len(self.category_ids) or not self.class_names:
            raise ValueError(
                "class_names, category_ids: expected one of each per class and at least one class, "
                f"got {len(self.class_names)} and {len(self.category_ids)}"
            )
        choices = {
            "preset": sorted(VARIANTS),
            "backbone": get_args(BackboneName),
            "norm": get_args(NormName),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name}: expected one of {list(known)}, got {brief(value)}")
        for name in ("backbone_width", "width", "depth"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= MAX_CHANNELS:
                raise ValueError(
                    f"{name}: expected a whole number from 1 to {MAX_CHANNELS}, got {brief(value)}"
                )
        if not all(isinstance(name, str) for name in self.class_names):
            raise ValueError(f"class_names: expected texts, got {brief(self.class_names)}")
        if not all(isinstance(number, int) for number in self.category_ids):
            raise ValueError(
                f"category_ids: expected whole numbers, got {brief(self.category_ids)}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        lists = {name: tuple(values[name]) for name in ("class_names", "category_ids")}
        return cls(**{**values, **lists})


class Backbone(nn.Module):
    """ResNet body and pyramid: [B, 3, H, W] -> P3 .. P7."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.body = ResNet(config.backbone, config.norm, config.backbone_width)
        self.fpn = FPN(self.body.out_channels, config.width)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.fpn(self.body(images))


class FCOS(nn.Module):
    """FCOS (Tian et al., arXiv 1904.01355 and 2006.09214).

    The names of the weights are those of torchvision's fcos_resnet50_fpn, plus
    `head.regression_head.scales.*` in the presets that have them.
    """

    loss_normalizer: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.variant = VARIANTS[config.preset]
        self.backbone = Backbone(config)
        self.head = Head(config.width, config.depth, config.num_classes, self.variant)
        if self.variant.normalizer == "moving":
            self.register_buffer("loss_normalizer", torch.tensor(300.0))

    def forward(
        self,
        images: ImageBatch | Sequence[Tensor],
        targets: GroundTruth | Sequence[Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor] | Detections:
        """Losses in training mode, detections in evaluation mode.

        Args:
            images: a padded batch, or a list of normalised float [3, H, W] images.
            targets: needed in training mode: ragged boxes, or one mapping an image with "boxes"
                [M, 4] (x1 y1 x2 y2, pixels) and "labels" [M] (class channel).

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
            raise ValueError("targets: needed in training mode, got None")
        if not isinstance(targets, GroundTruth):
            targets = join_ground_truth(
                [t["boxes"] for t in targets], [t["labels"] for t in targets]
            )
        if len(targets.offsets) != len(batch.tensor) + 1:
            raise ValueError(
                f"targets: expected {len(batch.tensor)} images, got {len(targets.offsets) - 1}"
            )
        return self.losses(self.head(self.backbone(batch.tensor)), batch, targets)

    def levels(self, output: HeadOutput, batch: ImageBatch) -> tuple[Level, ...]:
        """Geometry of the maps in `output`."""
        sizes = [(m.shape[2], m.shape[3]) for m in output.classification]
        image_size = (batch.tensor.shape[2], batch.tensor.shape[3])
        return fcos_ops.pyramid_levels(sizes, image_size=image_size, rule=self.config.preset)

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
            rule: how head outputs become detections; None: as the preset has it.
        """
        output = self.head(self.backbone(batch.tensor))
        # Said here, as a rule of the caller's has no name that would bring them.
        trained = fcos_ops.ASSIGNMENT_RULES[self.config.preset]
        return fcos_ops.postprocess(
            output.classification,
            output.ltrb,
            output.centerness,
            batch.sizes,
            levels=self.levels(output, batch),
            original_sizes=original_sizes,
            rule=self.config.preset if rule is None else rule,
            normalized=trained.normalize_ltrb,
            location_offset=trained.location_offset,
        )

    def losses(
        self, output: HeadOutput, batch: ImageBatch, truth: GroundTruth
    ) -> dict[str, Tensor]:
        """The three FCOS losses, each a scalar; their normalisers never leave the device."""
        normalize = {
            "global": fcos_ops.mean_over_processes,
            "local": None,
            "moving": self._moving_normalizers,
        }[self.variant.normalizer]
        losses = fcos_ops.fcos_loss(
            output.classification,
            output.ltrb,
            output.centerness,
            *truth,
            levels=self.levels(output, batch),
            rule=self.config.preset,
            normalize=normalize,
        )
        return dict(zip(LOSS_NAMES, losses[: len(LOSS_NAMES)], strict=True))

    def _moving_normalizers(self, counts: Tensor) -> Tensor:
        self.loss_normalizer.lerp_(counts[0].to(torch.float32).clamp(min=1), 0.1)
        return torch.stack([self.loss_normalizer.to(counts.dtype), counts[1]])
