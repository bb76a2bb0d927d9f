#!/usr/bin/env bash
# torch 2.13.0: the first normal_ on the meta device imports hundreds of modules.
#
# A network is made on the meta device to know its shapes for nothing. Where it draws its weights
# from a normal distribution (torch.nn.init.normal_ or kaiming_normal_), the first draw, which
# computes nothing, imports torch._dynamo, torch.distributed, sympy and what they import: 824
# modules, 4 seconds where this was seen. A uniform draw there, or a normal one on the CPU, imports
# none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5
"$folder/env/bin/python" - <<'PY'
import sys
import time

import torch

print(f"torch {torch.__version__}")
meta, cpu = torch.empty(3, 3, device="meta"), torch.empty(3, 3)
imported = []
for name, draw, tensor in (
    ("uniform_, meta", torch.nn.init.uniform_, meta),
    ("normal_, cpu", torch.nn.init.normal_, cpu),
    ("normal_, meta", torch.nn.init.normal_, meta),
    ("normal_, meta, again", torch.nn.init.normal_, meta),
):
    before, start = set(sys.modules), time.perf_counter()
    draw(tensor)
    new = set(sys.modules) - before
    imported.append(len(new))
    print(f"{name}: {len(new)} modules imported, {time.perf_counter() - start:.3f} s")
assert imported[0] == imported[1] == imported[3] == 0, "changed"
assert imported[2] > 400 and "torch._dynamo" in sys.modules, "changed"
PY
