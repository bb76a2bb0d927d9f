"""Group normalization and ReLU of the maps of a pyramid, all levels at once."""

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from fcos_ops import _checks, _constants, _native, reference
from fcos_ops._group_norm_op import GROUP_NORM_OP


@overload
def group_norm(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    groups: int,
    eps: float = 1e-5,
    activation: str | None = None,
) -> Tensor: ...
@overload
def group_norm(
    maps: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    *,
    groups: int,
    eps: float = 1e-5,
    activation: str | None = None,
) -> list[Tensor]: ...
def group_norm(
    maps: Tensor | Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    *,
    groups: int,
    eps: float = 1e-5,
    activation: str | None = None,
) -> Tensor | list[Tensor]:
    """Group normalization (Wu and He, arXiv 1803.08494) of one map, or of the maps of several
    levels that share weight and bias, with a ReLU in the same pass.

    The channels of an image of a map fall into groups of C / groups neighbours. With the mean and
    the biased variance of a group over its channels and locations, an element x becomes
    (x - mean) / sqrt(variance + eps) * weight + bias, then max(0, .) with activation "relu". The
    maths is float32 (float64 for float64 maps), and sound however large the mean is beside the
    deviations from it. Those may be up to 1e16 in float32, and with an eps of next to nothing down
    to 1e-17 (below 1e-76 an eps may make NaN of a group of equal elements). Where a group
    holds a NaN or an infinity all of it becomes NaN.

    Results are in the dtype and layout of their maps (NCHW or channels_last, which levels may mix),
    also under autocast. Kept for the backward pass are the maps and two numbers a group: where the
    ReLU cut off is computed again. Results do not depend on the number of threads.

    Args:
        maps: [B, C, H, W], or a list of 1 to 16 such with B and C in common; float16, bfloat16,
            float32 or float64, one dtype, any strides, any size including none.
        weight: [C], any of these dtypes.
        bias: [C], any of these dtypes.
        groups: at least 1; divides C.
        eps: added to the variance, in [0, 3e38].
        activation: None, or "relu".

    Returns:
        A tensor for a tensor, a list for a list. Maps, weight and bias are differentiable, once.

    Raises:
        TypeError: an argument is no tensor or number, or has an unsupported dtype.
        ValueError: shapes, dtypes or devices do not fit, groups do not divide C, or a number or
            word is out of range.
    """
    is_one = isinstance(maps, Tensor)
    if not is_one:
        _checks.sequence("maps", maps)
    tensors = [maps] if isinstance(maps, Tensor) else list(maps)
    _check(tensors, is_one, weight, bias)
    groups = _checks.integer("groups", groups, 1)
    channels = tensors[0].shape[1]
    if channels % groups != 0 or groups > max(channels, 1):
        raise ValueError(f"groups must divide the {channels} channels of maps, got {groups}")
    eps = _checks.number("eps", eps, 0.0, _constants.MAX_NORM_EPS)
    if activation is not None:
        _checks.choice("activation", activation, _constants.WORDS["activation"][1:])
    if _native.enabled("group_norm", tensors[0]):
        inputs = [*tensors, weight, bias]
        results = GROUP_NORM_OP(inputs, groups, eps, activation or "none")[: len(tensors)]
    else:
        results = reference.group_norm(
            tensors, weight, bias, groups=groups, eps=eps, activation=activation
        )
    return results[0] if is_one else list(results)


def _check(maps: list[Tensor], is_one: bool, weight: Tensor, bias: Tensor) -> None:
    if not 1 <= len(maps) <= _constants.MAX_LEVELS:
        raise ValueError(f"maps must hold 1 to {_constants.MAX_LEVELS} tensors, got {len(maps)}")
    name, first = "maps" if is_one else "maps[0]", maps[0]
    _checks.tensor(name, first, _checks.FLOATING)
    if first.dim() != 4:
        raise ValueError(f"{name} must have shape [B, C, H, W], got {_checks.describe(first)}")
    batch, channels, dtype, device = first.shape[0], first.shape[1], first.dtype, first.device
    for i, tensor in enumerate(maps):
        if not (
            isinstance(tensor, Tensor)
            and tensor.dtype == dtype
            and tensor.device == device
            and tensor.layout is torch.strided
            and not tensor.is_nested
            and tensor.dim() == 4
            and tensor.shape[:2] == first.shape[:2]
        ):
            _checks.tensor(f"maps[{i}]", tensor, (dtype,))
            _checks.same_device(f"maps[{i}]", tensor, "maps[0]", first)
            raise ValueError(
                f"maps[{i}] must have shape [{batch}, {channels}, H, W] (batch and channels of "
                f"maps[0]), got {_checks.describe(tensor)}"
            )
    for parameter_name, parameter in (("weight", weight), ("bias", bias)):
        _checks.tensor(parameter_name, parameter, _checks.FLOATING)
        _checks.shape(parameter_name, parameter, (channels,), "one number a channel of maps")
        _checks.same_device(parameter_name, parameter, name, first)
