#!/usr/bin/env bash
# torch 2.13.0, on a CPU with AVX-512: a part of a bfloat16 gradient is left unset.
#
# A 3x3 convolution of stride 2 and padding 1 over maps of one column: the outer columns of its
# kernel see nothing but padding, so that their gradient is 0, as it is in float32. In bfloat16 it
# holds whatever was in memory before. FPN's P6 and P7 are such convolutions for narrow images.
set -euo pipefail
grep -q avx512f /proc/cpuinfo || { echo "this processor has no AVX-512: nothing to see"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5
"$folder/env/bin/python" - <<'PY'
import torch

print(f"torch {torch.__version__}")


def outer_columns(dtype):
    """The largest gradient of a weight that sees padding alone, after memory held sevens."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(64, 64, 3, stride=2, padding=1, dtype=dtype)
    maps = torch.randn(2, 64, 8, 1, dtype=dtype)
    largest = 0.0
    for _ in range(50):
        used = [torch.full((64 * 64 * 9,), 7.0, dtype=dtype) for _ in range(8)]
        del used
        convolution.weight.grad = None
        convolution(maps).float().sum().backward()
        gradient = convolution.weight.grad[..., [0, 2]].float()
        largest = max(largest, gradient.abs().nan_to_num(float("inf")).max().item())
    return largest


found = {dtype: outer_columns(dtype) for dtype in (torch.float32, torch.bfloat16)}
print("largest gradient of weights that see padding alone:", found)
assert found[torch.float32] == 0
assert found[torch.bfloat16] != 0, "mended: all of the gradient is set"
PY
