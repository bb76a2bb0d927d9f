#!/usr/bin/env bash
# supervision 0.31.2: an object in two pieces is two objects in YOLO and VOC, and a crowd in COCO.
#
# A mask may have several parts: a car behind a pole. Of one detection with such a mask, as_yolo
# writes two lines and as_pascal_voc two objects, so that there is one box for each piece and none
# around the object. as_coco writes one annotation with the right box but iscrowd 1: COCO's
# evaluation then ignores the object, and many a trainer leaves it out. The docstring of a helper in
# formats/coco.py says so, that of as_coco does not.
#
# PYTHON=path takes an interpreter that has the package.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/env"
  PYTHON=$folder/env/bin/python
  "$PYTHON" -m pip install -q supervision==0.31.2 numpy==2.4.6 pillow==12.3.0
fi
"$PYTHON" - "$folder" <<'PY'
import json
import sys
from pathlib import Path

import numpy as np
import supervision as sv
from PIL import Image

print(f"supervision {sv.__version__}")
assert sv.__version__ == "0.31.2", "another version"
root = Path(sys.argv[1])
photo = str(root / "a.png")
Image.new("RGB", (40, 30)).save(photo)
mask = np.zeros((1, 30, 40), dtype=bool)
mask[0, 5:25, 2:12] = mask[0, 5:25, 20:36] = True
car = sv.Detections(
    xyxy=np.array([[2.0, 5, 36, 25]]), mask=mask, class_id=np.array([0], dtype=int)
)
data = sv.DetectionDataset(classes=["car"], images=[photo], annotations={photo: car})
data.as_yolo(annotations_directory_path=str(root / "yolo"))
data.as_pascal_voc(annotations_directory_path=str(root / "voc"))
data.as_coco(annotations_path=str(root / "coco.json"))
lines = [line for line in (root / "yolo" / "a.txt").read_text().splitlines() if line]
objects = (root / "voc" / "a.xml").read_text().count("<object>")
coco = [(a["bbox"], a["iscrowd"]) for a in json.loads((root / "coco.json").read_text())["annotations"]]
print(f"one car in two pieces: YOLO {len(lines)} lines, VOC {objects} objects, COCO {coco}")
assert (len(lines), objects, coco) == (2, 2, [([2.0, 5.0, 34.0, 20.0], 1)]), "changed"
PY
