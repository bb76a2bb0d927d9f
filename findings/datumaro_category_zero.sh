#!/usr/bin/env bash
# datumaro 1.13.12: a COCO file with a category 0 comes back with annotations of a category it lacks.
#
# Many exporters number categories from 0. Read and written again as coco_instances, categories are
# numbered from 1, in the list and in the annotations, but for those of category 0: they keep the 0,
# which the list no longer has, so that readers refuse the file or drop them. On reading it warns that
# 0 is reserved and such annotations have no label; on writing it says nothing.
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
"$PYTHON" - "$folder" <<'PY'
import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

from datumaro.components.dataset import Dataset
from PIL import Image

assert version("datumaro") == "1.13.12", "another version"
print("datumaro 1.13.12")
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger().addHandler(handler)


def through(name, first):
    """A file of ball, cup and hat, numbered from `first`, with one of each: as it comes back."""
    root = Path(sys.argv[1], name)
    (root / "annotations").mkdir(parents=True)
    (root / "images" / "train").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(root / "images" / "train" / "a.png")
    names = ["ball", "cup", "hat"]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": i, "name": n} for i, n in enumerate(names, start=first)],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": i + first, "bbox": [2, 3, 10 + i, 9],
             "area": 9 * (10 + i), "iscrowd": 0, "segmentation": []}
            for i in range(3)
        ],
    }
    file = "annotations/instances_train.json"
    (root / file).write_text(json.dumps(content))
    said.clear()
    data = Dataset.import_from(str(root), "coco_instances")
    data.init_cache()  # reads the annotations
    print(f"said on reading: {said or 'nothing'}")
    assert any("reserved" in text for text in said) == (first == 0), "changed"
    said.clear()
    data.export(str(root / "out"), "coco_instances")
    assert not said, "changed"
    written = json.loads((root / "out" / file).read_text())
    called = {category["id"]: category["name"] for category in written["categories"]}
    by_width = sorted(written["annotations"], key=lambda annotation: annotation["bbox"][2])
    found = [called.get(a["category_id"], f"none ({a['category_id']})") for a in by_width]
    print(f"numbered from {first}: {called}; ball, cup, hat are now {', '.join(found)}")
    return found


assert through("one", 1) == ["ball", "cup", "hat"], "changed"
assert through("zero", 0) == ["none (0)", "cup", "hat"], "changed"
PY
