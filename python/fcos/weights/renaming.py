"""Names of weights in another program's file become ours, and none is passed over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from ..errors import UserError, a_few, brief

Rules = Sequence[tuple[str, str]]  # a pattern of the whole name, and its replacement

# a ResNet's names in torchvision, which others have below prefixes of their own
RESNET = (
    r"(conv1\.weight|bn1\.\w+|"
    r"layer[1-4]\.\d+\.(?:conv\d\.weight|bn\d\.\w+|downsample\.[01]\.\w+))"
)

# What a leftover name tells of a network that is not implemented here.
_NOT_IMPLEMENTED = {
    r"offset|\.conv\d?\.conv\.": "deformable convolutions",
    r"share_tower": "towers that share convolutions",
    r"\.bottom_up\.(stage\d|stem\.stem_)": "a VoVNet backbone",
    r"\.bottom_up\.(base_layer|level\d)": "a DLA backbone",
    r"\.(bottom_up|body)\.features\.": "a MobileNet backbone",
}
_TOWER = re.compile(r"head\.\w+\.conv\.(\d+)\.")


def rename(
    state: Mapping[str, Tensor], rules: Rules, ignored: Iterable[str] = ()
) -> dict[str, Tensor]:
    """The tensors under our names: those of the first rule whose pattern is the whole name.

    Args:
        ignored: patterns of names that say nothing about the network.

    Raises:
        UserError: a name that no pattern knows, or two names that become one.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    skipped = [re.compile(pattern) for pattern in ignored]
    found: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        if any(pattern.fullmatch(name) for pattern in skipped):
            continue
        for pattern, replacement in compiled:
            if match := pattern.fullmatch(name):
                ours = match.expand(replacement)
                break
        else:
            unknown.append(name)
            continue
        if ours in found:
            raise UserError(f"weights must hold {ours!r} once, got it twice, as {brief(name)}, too")
        found[ours] = tensor
    if unknown:
        raise UserError(_about(unknown))
    return _without_gaps(found)


def _about(unknown: Sequence[str]) -> str:
    for pattern, network in _NOT_IMPLEMENTED.items():
        if names := [name for name in unknown if re.search(pattern, name)]:
            return f"weights must be of a network without {network}, got {a_few(names)}"
    return f"weights must have names of this layout only, got {a_few(unknown)}"


def _without_gaps(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Towers without a norm count their convolutions 0, 2, 4; ours 0, 3, 6, as if it were there."""
    places = {int(m[1]) for name in state if (m := _TOWER.match(name)) and state[name].dim() == 4}
    if not places or places != set(range(0, 2 * len(places), 2)) or len(places) == 1:
        return state

    def ours(match: re.Match[str]) -> str:
        return match[0].replace(f".{match[1]}.", f".{int(match[1]) // 2 * 3}.")

    return {_TOWER.sub(ours, name): tensor for name, tensor in state.items()}
