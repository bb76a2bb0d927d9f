#!/usr/bin/env bash
# mmdet 3.3.0: a CocoDataset numbers the classes as the annotation file lists them, not as `classes` does.
#
# Its `metainfo` keeps the order of `classes`, and the visualizer takes names from there: if the file
# lists dog, cat and the caller gives cat, dog, a dog is drawn as cat. Its id by `cat_ids` is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "setuptools<81" wheel==0.48.0  # mmcv's setup.py imports pkg_resources
"$folder/env/bin/pip" install -q --no-build-isolation torch==2.13.0 numpy==2.4.6 \
  mmcv-lite==2.1.0 mmdet==3.3.0 mmengine==0.10.7
"$folder/env/bin/python" - "$folder/dog.json" <<'PY'
import json, sys
from unittest.mock import MagicMock

sys.modules["mmcv._ext"] = MagicMock()  # the compiled ops: looked up at import, never called here
import mmdet
import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

file = {
    "images": [{"id": 1, "file_name": "", "height": 100, "width": 100}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 18, "bbox": [0, 0, 9, 9], "area": 81}],
}
json.dump(file, open(sys.argv[1], "w"))
print(f"mmdet {mmdet.__version__}: a file with dog (id 18), cat (id 17) and one dog")
seen = []
for classes in ("dog", "cat"), ("cat", "dog"):
    data = CocoDataset(ann_file=sys.argv[1], data_prefix={"img": ""}, metainfo={"classes": classes})
    label = data.get_data_info(0)["instances"][0]["bbox_label"]
    dog = InstanceData(bboxes=torch.tensor([[0, 0, 9, 9]]), labels=torch.tensor([label]))
    visualizer = DetLocalVisualizer(str(classes))
    visualizer.dataset_meta, visualizer.draw_texts = data.metainfo, MagicMock()
    visualizer.add_datasample("dog", np.zeros((100, 100, 3)), DetDataSample(gt_instances=dog))
    seen.append((label, data.cat_ids[label], visualizer.draw_texts.call_args.args[0]))
    print(f"classes {classes}: label {label}, id {seen[-1][1]}, drawn as {seen[-1][2]}")
assert seen == [(0, 18, "dog"), (0, 18, "cat")], "changed"
PY
