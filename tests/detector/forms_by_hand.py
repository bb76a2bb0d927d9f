"""Data sets in the forms of tools that cannot be run in a test, written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

NAMES = ["ball", "cup"]
SIZES = {"a": (40, 30), "b": (32, 24), "c": (24, 24)}  # width, height
# image, class, x y width height
BOXES = [("a", 0, [4, 6, 12, 10]), ("a", 1, [20, 8, 16, 20]), ("b", 1, [0, 0, 16, 24])]
PARTS = {"train": ["a", "b"], "val": ["c"]}


def photos(folder: Path, names: list[str], suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", SIZES[name], "grey").save(folder / f"{name}{suffix}")


def coco(names: list[str], first_id: int = 1, **more: Any) -> dict[str, Any]:
    """A COCO dictionary of some images; `more` goes into every annotation."""
    images = [
        {"id": i, "file_name": f"{name}.png", "width": SIZES[name][0], "height": SIZES[name][1]}
        for i, name in enumerate(names, start=first_id)
    ]
    ids = {name: i for i, name in enumerate(names, start=first_id)}
    boxes = [(ids[name], label, box) for name, label, box in BOXES if name in ids]
    annotations = [
        {"id": i, "image_id": image, "category_id": label + 1, "bbox": box, "iscrowd": 0, **more}
        for i, (image, label, box) in enumerate(boxes, start=first_id)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def roboflow(root: Path) -> None:
    """Its parts are train and valid; category 0 is above all others, and ids begin with 0."""
    for part, folder in (("train", "train"), ("val", "valid")):
        photos(root / folder, PARTS[part])
        content = coco(PARTS[part], first_id=0)
        for category in content["categories"]:
            category["supercategory"] = "things"
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
        write(root / folder / "_annotations.coco.json", content)


def cvat(root: Path) -> None:
    """One part, default, with attributes."""
    photos(root / "images" / "default", list(SIZES))
    content = coco(list(SIZES), attributes={"occluded": False, "rotation": 0.0})
    content["annotations"][2]["attributes"] = {"occluded": False, "rotation": 30.0}
    write(root / "annotations" / "instances_default.json", content)


def lvis(root: Path) -> None:
    """No file names but addresses; no iscrowd; which categories were looked for."""
    for part, names in PARTS.items():
        photos(root / f"{part}2017", names)
        content = coco(names)
        for image in content["images"]:
            image["coco_url"] = f"http://images.cocodataset.org/{part}2017/{image.pop('file_name')}"
            image.update(neg_category_ids=[2], not_exhaustive_category_ids=[])
        for annotation in content["annotations"]:
            del annotation["iscrowd"]
        write(root / f"lvis_v1_{part}.json", content)


def xml(name: str, first_pixel: int = 0, source: str = "", **fields: str) -> str:
    """Of one image; `fields` go into every object."""
    objects = ""
    more = "".join(f"<{field}>{text}</{field}>" for field, text in fields.items())
    for image, label, (x, y, width, height) in BOXES:
        if image == name:
            corners = (
                f"<xmin>{x + first_pixel}</xmin><ymin>{y + first_pixel}</ymin>"
                f"<xmax>{x + width}</xmax><ymax>{y + height}</ymax>"
            )
            objects += (
                f"<object><name>{NAMES[label]}</name>{more}<bndbox>{corners}</bndbox></object>"
            )
    width, height = SIZES[name]
    return (
        f"<annotation><filename>{name}.jpg</filename><source>{source}</source>"
        f"<size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"
    )


def voc(root: Path) -> None:
    """VOC's own: pixels from 1 on, lists of two kinds, parts of objects with boxes of their own."""
    photos(root / "JPEGImages", list(SIZES), ".jpg")
    source = "<database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation>"
    for name in SIZES:
        text = xml(name, first_pixel=1, source=source, difficult="0")
        head = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
        write(root / "Annotations" / f"{name}.xml", text.replace("</object>", head))
    for part, names in PARTS.items():
        write(root / "ImageSets" / "Main" / f"{part}.txt", "".join(f"{n}\n" for n in names))
        write(root / "ImageSets" / "Main" / f"cup_{part}.txt", "".join(f"{n} -1\n" for n in names))


def roboflow_voc(root: Path) -> None:
    for part, folder in (("train", "train"), ("val", "valid")):
        photos(root / folder, PARTS[part], ".jpg")
        for name in PARTS[part]:
            source = "<database>roboflow.com</database>"
            write(root / folder / f"{name}.xml", xml(name, first_pixel=1, source=source))


def yolo_line(name: str, label: int, box: list[int]) -> str:
    x, y, width, height = box
    across, down = SIZES[name]
    numbers = ((x + width / 2) / across, (y + height / 2) / down, width / across, height / down)
    return " ".join(map(str, (label, *numbers)))


def yolo_labels(folder: Path, names: list[str]) -> None:
    for name in names:
        lines = [yolo_line(*entry) for entry in BOXES if entry[0] == name]
        write(folder / f"{name}.txt", "\n".join(lines))


def roboflow_yolo(root: Path) -> None:
    for part, folder in (("train", "train"), ("val", "valid")):
        photos(root / folder / "images", PARTS[part])
        yolo_labels(root / folder / "labels", PARTS[part])
    # the part test is named whether it is there or not
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    names = "\nnc: 2\nnames: ['ball', 'cup']\n\nroboflow:\n  workspace: a\n  version: 1\n"
    write(root / "data.yaml", places + names)


def yolo_folders(root: Path) -> None:
    """images/train and labels/train; an absolute path of another machine in data.yaml."""
    for part, names in PARTS.items():
        photos(root / "images" / part, names)
        yolo_labels(root / "labels" / part, names)
    text = "path: /content/datasets/balls  # on Colab\ntrain: images/train\nval: images/val\n"
    write(root / "balls.yaml", text + "names:\n  0: ball\n  1: cup\n")


def crowdhuman(root: Path) -> None:
    """Only persons; the images of a part lie in folders that the file does not name."""
    for part, names in PARTS.items():
        photos(root / f"CrowdHuman_{part}01" / "Images", names, ".jpg")
        lines = []
        for name in names:
            boxes = [
                {"tag": "person", "fbox": box, "vbox": box, "hbox": box, "extra": {"box_id": 0}}
                for image, _, box in BOXES
                if image == name
            ]
            lines.append(json.dumps({"ID": name, "gtboxes": boxes}))
        write(root / f"annotation_{part}.odgt", "\n".join(lines) + "\n")


def sahi(root: Path) -> None:
    """One file beside the images; areas cut to whole numbers, also to 0."""
    photos(root, list(SIZES))
    write(root / "sliced_coco.json", coco(list(SIZES), area=0, segmentation=[]))


def labelme2coco(root: Path) -> None:
    """Absolute file names, of a machine that is not this one."""
    photos(root / "images", list(SIZES))
    content = coco(list(SIZES))
    for image in content["images"]:
        image["file_name"] = f"/home/someone/labels/{image['file_name']}"
    write(root / "dataset.json", content)


FORMS: dict[str, Callable[[Path], None]] = {
    form.__name__: form
    for form in (
        *(roboflow, cvat, lvis, voc, roboflow_voc, roboflow_yolo, yolo_folders, crowdhuman),
        *(sahi, labelme2coco),
    )
}
