#!/usr/bin/env bash
# mmdet 3.3.0: pip installs it without mmcv, or beside one that it refuses, and `pip check` is content.
#
# `import mmdet` needs mmcv >= 2.0.0rc4, < 2.2.0 and mmengine. The requirements in the wheel's
# metadata name neither; only those of its extra `mim` do. So it cannot be imported as installed, nor
# with mmcv 2.2.0, in November 2026 the newest on PyPI as mmdet 3.3.0 is: an assertion stops it.
# mmcv-lite is mmcv without compiled ops. Its setup.py imports pkg_resources, which setuptools 81
# no longer has.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
pip=$folder/env/bin/pip
import_it() { # prints the last line of what python says, and fails as it does
  "$folder/env/bin/python" -c "import mmdet" 2>&1 | tail -n 1
}
expect() { # the text that importing it has to end with
  "$pip" check
  if said=$(import_it); then echo "imported: changed"; exit 1; fi
  echo "import mmdet: $said"
  case $said in *"$1") ;; *) echo "changed"; exit 1 ;; esac
}
"$pip" install -q "setuptools<81" wheel==0.48.0 torch==2.13.0 numpy==2.4.6 mmdet==3.3.0
"$pip" list | grep -i -E '^mm(det|cv|engine)'
expect "No module named 'mmcv'"
"$pip" install -q --no-build-isolation mmcv-lite==2.2.0 mmengine==0.10.7
"$pip" list | grep -i -E '^mm(det|cv|engine)'
expect "MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0."
