#!/usr/bin/env bash
# torch 2.13.0: a backward pass marked once_differentiable does not stop a second derivative.
#
# The decorator promises an error when a derivative is differentiated again. It raises only where the
# gradient that came in requires one itself; that of a loss is the constant 1, so the term through
# the marked function is left out without a word, by torch.autograd.grad and backward() alike. Here
# y = (w x)^3 has dy/dx = 3 w^3 x^2, so d(dy/dx)/dw = 9 w^2 x^2 = 36 at w = 1, x = 2; seen: 12, the
# part that does not go through the marked function.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5
"$folder/env/bin/python" - <<'PY'
import torch
from torch.autograd.function import once_differentiable


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(3 * x * x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


x = torch.tensor(2.0, requires_grad=True)
w = torch.tensor(1.0, requires_grad=True)
(by_x,) = torch.autograd.grad(Cube.apply(w * x), x, create_graph=True)
(seen,) = torch.autograd.grad(by_x, w, retain_graph=True)
by_x.backward()
print(f"torch {torch.__version__}: {seen.item()} and {w.grad.item()}, the second derivative is 36")
assert seen.item() == w.grad.item() == 12.0, "changed"
PY
