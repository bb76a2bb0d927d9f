"""What group_norm refuses, and how it says so."""

import math
from typing import Any

import pytest
import torch

import fcos_ops
from tests.common import assert_refuses

X, Y = torch.ones(2, 8, 3, 4), torch.ones(2, 8, 2, 2)
W, B = torch.ones(8), torch.zeros(8)
BAD_INPUT = [
    ({"maps": 1.0}, TypeError, "maps must be a list or tuple, got float 1.0"),
    ({"maps": []}, ValueError, "maps must hold 1 to 16 tensors, got 0"),
    ({"maps": [X] * 17}, ValueError, "maps must hold 1 to 16 tensors, got 17"),
    ({"maps": [X, 1.0]}, TypeError, r"maps\[1\] must be a torch.Tensor"),
    ({"maps": X.int()}, TypeError, "maps must have dtype"),
    ({"maps": X[0]}, ValueError, r"maps must have shape \[B, C, H, W\]"),
    ({"maps": [X[0], Y]}, ValueError, r"maps\[0\] must have shape \[B, C, H, W\]"),
    ({"maps": [X, Y.double()]}, TypeError, r"maps\[1\] must have dtype float32"),
    ({"maps": [X, Y.to("meta")]}, ValueError, r"maps\[1\] must be on the device"),
    ({"maps": [X, Y[:1]]}, ValueError, r"maps\[1\] must have shape \[2, 8, H, W\]"),
    ({"maps": [X, Y[:, :4]]}, ValueError, r"maps\[1\] must have shape \[2, 8, H, W\]"),
    ({"maps": [X, Y[0]]}, ValueError, r"maps\[1\] must have shape"),
    ({"maps": X.to_sparse()}, TypeError, "maps must be a dense tensor"),
    ({"weight": None}, TypeError, "weight must be a torch.Tensor"),
    ({"weight": W.int()}, TypeError, "weight must have dtype"),
    ({"weight": W[:4]}, ValueError, r"weight must have shape \(8,\)"),
    ({"weight": W.to("meta")}, ValueError, "weight must be on the device of maps"),
    ({"bias": B[:, None]}, ValueError, "bias must have shape"),
    ({"bias": B.long()}, TypeError, "bias must have dtype"),
    ({"groups": 3}, ValueError, "groups must divide the 8 channels of maps, got 3"),
    ({"maps": X[:, :0], "weight": W[:0], "bias": B[:0], "groups": 2}, ValueError, "groups must"),
    ({"groups": 0}, ValueError, r"groups must be in \[1, "),
    ({"groups": 2.0}, TypeError, "groups must be an int"),
    ({"groups": True}, TypeError, "groups must be an int"),
    ({"eps": -1e-5}, ValueError, "eps must be in"),
    ({"eps": math.inf}, ValueError, "eps must be in"),
    ({"eps": math.nan}, ValueError, "eps must be in"),
    ({"eps": "1"}, TypeError, "eps must be a number"),
    ({"activation": "gelu"}, ValueError, "activation must be one of"),
    ({"activation": "none"}, ValueError, "activation must be one of"),
    ({"activation": 1}, TypeError, "activation must be one of"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("changes, error, message", BAD_INPUT)
def test_bad_input(changes: Any, error: type[Exception], message: str, backend: str) -> None:
    good = {"maps": X, "weight": W, "bias": B, "groups": 4, "eps": 1e-5, "activation": "relu"}
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.group_norm(**{**good, **changes})


forward = torch.ops.fcos_ops.group_norm
backward = torch.ops.fcos_ops.group_norm_backward
S = torch.zeros(2, 2, 4, 2, dtype=torch.float64)
FORWARD = ([X, Y, W, B], 4, 1e-5, "relu")
BACKWARD = ([X, Y, W, B], [X, Y], S, 4, "relu", True, True)
WRONG: list[tuple[Any, tuple[Any, ...], int, Any, str]] = [
    (forward, FORWARD, 0, [W, B], "inputs must hold one or more maps"),
    (forward, FORWARD, 0, [X[0], W, B], "inputs must hold one or more maps"),
    (forward, FORWARD, 0, [X, Y[0], W, B], r"maps\[1\] must have"),
    (forward, FORWARD, 0, [X, Y[:1], W, B], r"maps\[1\] must have shape"),
    (forward, FORWARD, 0, [X, Y.double(), W, B], r"maps\[1\] must have dtype"),
    (forward, FORWARD, 0, [X.int(), W, B], r"maps\[0\] must have dtype"),
    (forward, FORWARD, 0, [X, W[:1], B], "weight must have shape"),
    (forward, FORWARD, 0, [X, W, B.to(torch.complex64)], "bias must have a real dtype"),
    (forward, FORWARD, 0, [X] * 17 + [W, B], "maps must hold at most 16"),
    (forward, FORWARD, 1, 3, "groups must be at least 1 and divide 8 channels, got 3"),
    (forward, FORWARD, 1, -4, "groups must be at least 1"),
    (forward, FORWARD, 2, math.nan, "eps must be in"),
    (forward, FORWARD, 3, "gelu", "activation must be one of"),
    (backward, BACKWARD, 1, [X], "grad_normalized must hold one tensor for each of 2 maps"),
    (backward, BACKWARD, 1, [X, X], r"grad_normalized\[1\] must have shape"),
    (backward, BACKWARD, 1, [X, Y.double()], r"grad_normalized\[1\] must have dtype"),
    (backward, BACKWARD, 1, [X, Y[0]], r"grad_normalized\[1\] must have"),
    (backward, BACKWARD, 2, S[:1], "statistics must have shape"),
    (backward, BACKWARD, 2, S.float(), "statistics must have dtype"),
    (backward, BACKWARD, 3, 5, "groups must be at least 1 and divide"),
    (backward, BACKWARD, 4, "", "activation must be one of"),
]


@pytest.mark.parametrize("op, arguments, index, wrong, message", WRONG)
def test_the_op_itself_checks(
    op: Any, arguments: tuple[Any, ...], index: int, wrong: Any, message: str
) -> None:
    assert_refuses(op, arguments, index, wrong, message)
