"""Feature pyramid (Lin et al., arXiv 1612.03144) with the two coarse levels that FCOS adds."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..names import ExtraLevels


class LastLevels(nn.Module):
    """P6 and P7: 3x3 convolutions of stride 2 from P5 or C5, with a ReLU between."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(inputs, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, coarsest: Tensor) -> tuple[Tensor, Tensor]:
        p6 = self.p6(_widened(coarsest))
        return p6, self.p7(_widened(F.relu(p6)))


def _widened(maps: Tensor) -> Tensor:
    """Maps of one column with a second one of zeros, as the padding of a convolution is.

    Of stride 2 over one column, torch 2.13 and 2.15 leave the bfloat16 gradient of the weights
    unset on a CPU with AVX-512, of those that see nothing but padding.
    """
    return F.pad(maps, (0, 1)) if maps.shape[-1] == 1 else maps


class FPN(nn.Module):
    """C3, C4, C5 -> P3 .. P7, each [B, channels, H, W].

    The upsampled map takes the lateral's size, so any input size works; sizes halve rounding up.

    Args:
        in_channels: of C3, C4, C5.
        channels: of every output.
        extra_levels: what P6 and P7 are computed from, "p5" or "c5"; None: they are left out.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, extra_levels: ExtraLevels | None = "p5"
    ) -> None:
        super().__init__()
        # each convolution sits in a Sequential for the sake of torchvision's names
        self.inner_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, channels, 1)) for inputs in in_channels
        )
        self.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)) for _ in in_channels
        )
        self.extra_levels = extra_levels
        if extra_levels is not None:
            inputs = in_channels[-1] if extra_levels == "c5" else channels
            self.extra_blocks = LastLevels(inputs, channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        laterals = [inner(x) for inner, x in zip(self.inner_blocks, maps, strict=True)]
        for index in range(len(laterals) - 2, -1, -1):
            size = laterals[index].shape[-2:]
            laterals[index] = laterals[index] + F.interpolate(laterals[index + 1], size=size)
        pyramid = [layer(x) for layer, x in zip(self.layer_blocks, laterals, strict=True)]
        if self.extra_levels is None:
            return pyramid
        coarsest = maps[-1] if self.extra_levels == "c5" else pyramid[-1]
        return [*pyramid, *self.extra_blocks(coarsest)]
