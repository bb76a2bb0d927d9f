"""The peers: torch.compile of the reference, and torchvision where it is installed."""

from collections.abc import Callable
from typing import Any

import torch

torchvision_ops: Any
try:
    import torchvision.ops as torchvision_ops
except ImportError:
    torchvision_ops = None


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile for the exact shapes of the problem, the setting most in its favour.

    What was compiled before is forgotten: torch falls back to eager after a few recompilations.
    """
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, dynamic=False)
