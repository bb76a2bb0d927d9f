#!/usr/bin/env bash
# msgspec 0.22.0: sys.getsizeof of a Raw is an address in memory instead of a size.
#
# The type says that its instances have items of one byte each (__itemsize__ 1), as those of bytes
# have, but their third word is no number of items: it is a pointer, which object.__sizeof__ adds to
# the fixed 48 bytes. A Raw of one byte then has a hundred terabytes, and whatever sums up sizes, as
# a cache or a profiler does, is wrong by as much.
#
# PYTHON=path takes an interpreter that has the package.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/env"
  PYTHON=$folder/env/bin/python
  "$PYTHON" -m pip install -q msgspec==0.22.0
fi
"$PYTHON" - <<'PY'
import sys

import msgspec

print(f"msgspec {msgspec.__version__}")
assert msgspec.__version__ == "0.22.0", "another version"
one = msgspec.Raw(b"1")
parts = msgspec.json.decode(b"[1, 2]", type=list[msgspec.Raw])
sizes = [sys.getsizeof(raw) for raw in (one, *parts)]
print(f"itemsize {msgspec.Raw.__itemsize__}, sizes of three Raws of one byte: {sizes}")
assert msgspec.Raw.__itemsize__ == 1 and all(size > 2**32 for size in sizes), "changed"
PY
