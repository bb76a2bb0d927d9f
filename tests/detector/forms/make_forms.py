"""Writes the folders beside this file with the exporters of the tools themselves.

Not run by the tests: it needs an environment of its own, see README.md here.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["ball", "cup"]
SIZES = {"a": (40, 30), "b": (32, 24), "c": (24, 24)}  # width, height
# image, class, x y width height; the last is not annotated
BOXES = [("a", 0, (4, 6, 12, 10)), ("a", 1, (20.5, 8, 15.5, 20)), ("b", 1, (0, 0, 16, 24))]
PARTS = {"a": "train", "b": "train", "c": "val"}
COLOURS = {"a": (200, 60, 40), "b": (40, 160, 60), "c": (60, 60, 200)}


def main(output: Path) -> None:
    photos = output / "photos"
    photos.mkdir(parents=True)
    for name, size in SIZES.items():
        Image.new("RGB", size, COLOURS[name]).save(photos / f"{name}.png")
    datumaro(output, photos)
    supervision(output, photos)
    label_studio(output, photos)
    globox(output, photos)
    shutil.rmtree(photos)


def datumaro(output: Path, photos: Path) -> None:
    from datumaro.components.annotation import Bbox
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image as Media

    items = []
    for name in SIZES:
        boxes = [
            Bbox(*box, label=label, id=i, group=i, attributes={"is_crowd": i == 3})
            for i, (image, label, box) in enumerate(BOXES, start=1)
            if image == name
        ]
        media = Media.from_file(path=str(photos / f"{name}.png"))
        items.append(DatasetItem(name, subset=PARTS[name], media=media, annotations=boxes))
    data = Dataset.from_iterable(items, categories=NAMES)
    for form in ("coco_instances", "voc_detection", "yolo", "yolo_ultralytics"):
        try:
            data.export(str(output / f"datumaro_{form}"), form, save_media=True)
        except Exception as error:
            print("datumaro", form, type(error).__name__, error)


def supervision(output: Path, photos: Path) -> None:
    import supervision as sv

    paths = [str(photos / f"{name}.png") for name in SIZES]
    found = {}
    for name, path in zip(SIZES, paths, strict=True):
        own = [(label, box) for image, label, box in BOXES if image == name]
        xyxy = np.array([(x, y, x + w, y + h) for _, (x, y, w, h) in own], dtype=float)
        found[path] = sv.Detections(
            xyxy=xyxy.reshape(-1, 4), class_id=np.array([label for label, _ in own], dtype=int)
        )
    data = sv.DetectionDataset(classes=NAMES, images=paths, annotations=found)
    root = output / "supervision"
    data.as_coco(str(root / "coco/images"), str(root / "coco/labels.json"))
    data.as_yolo(str(root / "yolo/images"), str(root / "yolo/labels"), str(root / "yolo/data.yaml"))
    data.as_pascal_voc(str(root / "voc/JPEGImages"), str(root / "voc/Annotations"))


def label_studio(output: Path, photos: Path) -> None:
    from label_studio_sdk.converter import Converter

    config = (
        '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
        '<Label value="cup"/><Label value="ball"/></RectangleLabels></View>'
    )
    tasks = []
    for number, (name, (width, height)) in enumerate(SIZES.items(), start=1):
        results = [
            {
                "id": f"r{i}", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {
                    "x": x / width * 100, "y": y / height * 100, "width": w / width * 100,
                    "height": h / height * 100, "rotation": 30 if i == 2 else 0,
                    "rectanglelabels": [NAMES[label]],
                },
            }
            for i, (image, label, (x, y, w, h)) in enumerate(BOXES)
            if image == name
        ]  # fmt: skip
        annotations = [{"id": number, "result": results, "completed_by": 1}] if results else []
        tasks.append(
            {
                "id": number,
                "data": {"image": f"/data/upload/1/{name}.png"},
                "annotations": annotations,
            }
        )
    source = output / "tasks.json"
    source.write_text(json.dumps(tasks))
    upload = output / "media" / "upload" / "1"
    upload.mkdir(parents=True)
    for name in SIZES:
        shutil.copy(photos / f"{name}.png", upload / f"{name}.png")
    for form in ("coco", "yolo", "voc"):
        for download in (True, False):
            root = output / f"label_studio_{form}{'' if download else '_links'}"
            converter = Converter(
                config, str(output / "media"), upload_dir=str(output / "media" / "upload"),
                download_resources=download,
            )  # fmt: skip
            if form == "coco":
                converter.convert_to_coco(str(source), str(root), is_dir=False)
            elif form == "yolo":
                converter.convert_to_yolo(str(source), str(root), is_dir=False)
            else:
                converter.convert_to_voc(str(source), str(root), is_dir=False)
    source.unlink()
    shutil.rmtree(output / "media")


def globox(output: Path, photos: Path) -> None:
    from globox import Annotation, AnnotationSet, BoundingBox

    boxes = AnnotationSet(
        Annotation(
            image_id=f"{name}.png",
            image_size=SIZES[name],
            boxes=[
                BoundingBox(label=NAMES[label], xmin=x, ymin=y, xmax=x + w, ymax=y + h)
                for image, label, (x, y, w, h) in BOXES
                if image == name
            ],
        )
        for name in SIZES
    )
    root = output / "globox"
    root.mkdir()
    for name in SIZES:
        shutil.copy(photos / f"{name}.png", root / f"{name}.png")
    boxes.save_coco(root / "labels.json", imageid_to_id=None, auto_ids=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
