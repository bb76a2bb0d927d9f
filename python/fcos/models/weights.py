"""Loading weights into a network, with an error that a person can read."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import brief, shorten


def load_weights(module: nn.Module, weights: object) -> None:
    """Load a dictionary of tensors under the names of the module's own.

    Raises:
        ValueError: not such a dictionary, or of another network. The message has the first
            difference, how many there are, and the likely cause.
    """
    if not isinstance(weights, dict):
        raise ValueError(f"weights must be in a dictionary, got {type(weights).__name__}")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                "weights must be tensors under their names, "
                f"got {type(value).__name__} under {brief(name)}"
            )
    try:
        missing, unknown = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        lines = str(error).splitlines()[1:]
        differences = [shorten(line.strip(), 160) for line in lines]
        cause = "another width or number of classes"
    else:
        differences = [f"{brief(name)} is missing" for name in missing]
        differences += [f"{brief(name)} is not of this network" for name in unknown]
        own = module.state_dict()
        of_norm = [n for n in missing if n.endswith(("running_mean", "running_var"))]
        of_norm += [n for n in unknown if n.endswith(("running_mean", "running_var"))]
        cause = "another norm" if of_norm and weights.keys() & own.keys() else "another network"
    if differences:
        more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
        raise ValueError(f"{differences[0]}{more} (are they of {cause}?)")
