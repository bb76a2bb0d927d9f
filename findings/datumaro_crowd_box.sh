#!/usr/bin/env bash
# datumaro 1.13.12: its COCO exporter writes a box marked as crowd as an ordinary object.
#
# The attribute is_crowd says that detections on a region count neither way, COCO's iscrowd. The
# exporter keeps the mark of masks only: a box with is_crowd gets iscrowd 0, and nothing is said. It
# is then trained on, and counted as missed.
#
# PYTHON=path takes an interpreter that has the packages.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/env"
  PYTHON=$folder/env/bin/python
  "$PYTHON" -m pip install -q datumaro==1.13.12 numpy==2.4.6 pillow==12.3.0
fi
"$PYTHON" - "$folder/data" <<'PY'
import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from datumaro.components.annotation import Bbox, Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

assert version("datumaro") == "1.13.12", "another version"
print("datumaro 1.13.12")
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger().addHandler(handler)

crowd = {"label": 0, "attributes": {"is_crowd": True}}
pixels = np.zeros((30, 40), dtype=np.uint8)
pixels[:, :20] = 1
regions = [Mask(pixels, id=1, group=1, **crowd), Bbox(25, 0, 10, 30, id=2, group=2, **crowd)]
media = Image.from_numpy(np.zeros((30, 40, 3), dtype=np.uint8))
item = DatasetItem("a", subset="train", media=media, annotations=regions)
data = Dataset.from_iterable([item], categories=["person"])
data.export(sys.argv[1], "coco_instances")
file = Path(sys.argv[1], "annotations", "instances_train.json")
written = {a["bbox"][0]: a["iscrowd"] for a in json.loads(file.read_text())["annotations"]}
print(f"iscrowd of the mask: {written[0]}, of the box: {written[25]}; said: {said or 'nothing'}")
assert written == {0: 1, 25: 0} and not said, "changed"
PY
