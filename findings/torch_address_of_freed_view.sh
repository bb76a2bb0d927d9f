#!/usr/bin/env bash
# torch 2.13.0: the address of a view whose storage was freed need not be null.
#
# Sharded training frees a parameter by resizing its storage to 0 bytes. A tensor at the start of the
# storage then reports data_ptr() == 0, but one that begins further on reports its offset in bytes,
# a small number that is no address: code which takes "not null" for "has memory" is misled. The
# DLPack exchange reports the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5
"$folder/env/bin/python" - <<'PY'
import torch

whole = torch.zeros(10, dtype=torch.float64)
views = whole[:5], whole[5:]
whole.untyped_storage().resize_(0)
addresses = [view.data_ptr() for view in views]
print(f"torch {torch.__version__}: addresses {addresses}, storage of {whole.untyped_storage().nbytes()} bytes")
assert addresses == [0, 40], "changed"
PY
