#!/usr/bin/env bash
# torchvision 0.29.2: its detectors' transform resizes the short side of a very long image to 0.
#
# GeneralizedRCNNTransform scales an image to at most 1333 pixels on the long side and rounds each
# side down. From a ratio of sides above 1333 on the short one comes to 0 pixels, which interpolate
# refuses; nothing keeps a side at 1. A strip of 1 x 1333 is resized, one of 1 x 1334 raises.
#
# The packages need 5 GB: PYTHON=path takes an interpreter that has them.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/env"
  PYTHON=$folder/env/bin/python
  "$PYTHON" -m pip install -q torch==2.15.0 torchvision==0.29.2 numpy==2.4.6
fi
"$PYTHON" - <<'PY'
import torch
import torchvision
from torchvision.models.detection.transform import GeneralizedRCNNTransform

print(f"torchvision {torchvision.__version__}")
assert torchvision.__version__.split("+")[0] == "0.29.2", "another version"
transform = GeneralizedRCNNTransform(800, 1333, [0.0] * 3, [1.0] * 3).eval()
raised = {}
for size in (1, 1333), (1, 1334), (2666, 2), (2667, 2):
    try:
        images, _ = transform([torch.rand(3, *size)])
        outcome = "{} x {}".format(*images.image_sizes[0])
    except RuntimeError as error:
        outcome = raised[size] = str(error)
    print(f"{size[0]} x {size[1]}: {outcome}")
assert list(raised) == [(1, 1334), (2667, 2)], "changed"
assert "output (H: 0, W: 1333)" in raised[1, 1334], "changed"
assert "output (H: 1333, W: 0)" in raised[2667, 2], "changed"
PY
