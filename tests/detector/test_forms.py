"""Data sets in the forms of tools: each is recognised, read, trained on and evaluated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fcos.cli import main
from fcos.data import progress
from fcos.data.annotated import AnnotatedImages
from fcos.data.forms import find_parts, read_part
from fcos.evaluation.average_precision import coco_metrics

from .forms_by_hand import FORMS, coco, photos, write
from .helpers import SMALL

EXPORTED = Path(__file__).parent / "forms"
BY_TOOLS = sorted(path.name for path in EXPORTED.iterdir() if path.is_dir())
ALL = {
    ("a", "ball"): [4, 6, 12, 10],
    ("a", "cup"): [20, 8, 16, 20],
    ("b", "cup"): [0, 0, 16, 24],
}
# tools that were given halves of a pixel, and may round them
ROUNDED = {("a", "cup"): [20.5, 8, 15.5, 20]}
# the box on b.png is a crowd for datumaro, which drops it from YOLO files, and is turned for Label
# Studio, which writes the box around it into COCO files
CHANGED: dict[str, dict[tuple[str, str], list[float] | None]] = {
    "datumaro_yolo": {("b", "cup"): None},
    "datumaro_yolo_ultralytics": {("b", "cup"): None},
    "label_studio_coco": {("b", "cup"): [-16, 0, 29.856, 26.785]},
}


def _copied(form: str, folder: Path) -> Path:
    """A data set that a tool wrote, or that is written by hand."""
    root = folder / form
    if form in FORMS:
        FORMS[form](root)
    else:
        shutil.copytree(EXPORTED / form, root)
    return root


def _found(root: Path) -> dict[tuple[str, str], list[float]]:
    """The box of each class on each image, of all parts."""
    boxes = {}
    for read in find_parts(root).values():
        annotated = AnnotatedImages(read())
        names = dict(zip(annotated.category_ids, annotated.class_names, strict=True))
        for index, path in enumerate(annotated.paths):
            for entry in annotated.annotations(index):
                boxes[path.stem, names[entry["category_id"]]] = entry["bbox"]
    return boxes


@pytest.mark.parametrize("form", BY_TOOLS)
def test_boxes_of_exporters(tmp_path: Path, form: str) -> None:
    found = _found(_copied(form, tmp_path))
    expected = {**ALL, **ROUNDED, **CHANGED.get(form, {})}
    assert set(found) == {key for key, box in expected.items() if box is not None}
    for key, box in found.items():
        # VOC files of supervision and Label Studio hold whole numbers
        slack = 1.0 if form in ("supervision_voc", "label_studio_voc") else 1e-3
        assert box == pytest.approx(expected[key], abs=slack), key


@pytest.mark.parametrize("form", FORMS)
def test_boxes_of_forms_by_hand(tmp_path: Path, form: str) -> None:
    expected = dict(ALL)
    if form == "crowdhuman":
        expected = {("a", "person"): ALL["a", "cup"], ("b", "person"): ALL["b", "cup"]}
    found = _found(_copied(form, tmp_path))
    assert set(found) == set(expected)
    for key, box in found.items():
        assert box == pytest.approx(expected[key], abs=1e-9), key


@pytest.mark.parametrize("form", [*FORMS, *BY_TOOLS])
def test_the_boxes_themselves_are_perfect_results(tmp_path: Path, form: str) -> None:
    """Whatever the ids of images and categories are."""
    annotated = AnnotatedImages(read_part(_copied(form, tmp_path), "train"))
    truth = annotated.ground_truth()
    results = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.5}
        for a in truth["annotations"]
    ]
    assert coco_metrics(truth, results)["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("form", [*FORMS, *BY_TOOLS])
def test_train_and_evaluate(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the commands of the README."""
    data, run = _copied(form, tmp_path), tmp_path / "run"
    arguments = ["--data", str(data), "--output", str(run), *SMALL]
    assert main(["train", *arguments, "--steps", "5"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("train: ") and "already" not in out
    split = list(find_parts(data))[0]
    weights = ["--weights", str(run / "last.pth"), "--device", "cpu"]
    assert main(["eval", "--data", str(data), "--split", split, *weights]) == 0
    assert "AP50 " in capsys.readouterr().out
    if len(find_parts(data)) > 1:  # the part val, whatever the tool calls it
        assert main(["eval", "--data", str(data), *weights]) == 0
        assert "nothing to measure" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annotations/instances_default.json", "images"),
        ("annotations/instances_default.json", "default"),
        ("annotations/instances_train.json", "images/train"),
        ("annotations/train.json", "train"),
        ("annotations/train.json", "images"),
        ("annotations/lvis_v1_train.json", "train"),
        ("annotations/instances_train_2014.json", "train_2014"),
        ("_annotations.coco.json", "."),
        ("anything.json", "images"),
        ("anything.json", "."),
    ],
)
def test_places_of_coco_files(tmp_path: Path, annotations: str, images: str) -> None:
    photos(tmp_path / images, ["a", "b"])
    write(tmp_path / annotations, coco(["a", "b"]))
    assert AnnotatedImages(read_part(tmp_path, "train")).contents.boxes == 3


def test_a_folder_without_images(tmp_path: Path) -> None:
    write(tmp_path / "annotations" / "instances_train.json", coco(["a"]))
    with pytest.raises(FileNotFoundError, match="image folder not found: no .*train and no .*imag"):
        read_part(tmp_path, "train")


def test_names_of_another_machine_beside_the_file(tmp_path: Path) -> None:
    content = coco(["a"])
    content["images"][0]["file_name"] = "/data/upload/1/a.png"
    write(tmp_path / "result.json", content)
    photos(tmp_path, ["a"])
    part = read_part(tmp_path, "result")
    assert part.images == tmp_path
    assert list(AnnotatedImages(part).paths) == [tmp_path / "a.png"]


def test_the_root_category_of_roboflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _copied("roboflow", tmp_path)
    arguments = ["train", "--data", str(data), *SMALL, "--steps", "1"]
    assert main([*arguments, "--output", str(tmp_path / "a")]) == 0
    captured = capsys.readouterr()
    assert "2 classes" in captured.out
    assert "train: left out the category 0, 'things', which has no box" in captured.err
    assert main([*arguments, "--output", str(tmp_path / "b"), "--keep-root-category"]) == 0
    captured = capsys.readouterr()
    assert "3 classes" in captured.out and "left out the category" not in captured.err


def test_a_root_category_with_boxes_is_a_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _copied("roboflow", tmp_path)
    file = data / "train" / "_annotations.coco.json"
    file.write_text(file.read_text().replace('"category_id": 1', '"category_id": 0'))
    assert main(["data", str(data), "--split", "train"]) == 0
    captured = capsys.readouterr()
    assert "things 1 boxes" in captured.out and "left out the category" not in captured.err


def test_evaluation_during_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On what Roboflow calls valid, and again where the run is resumed."""
    data = _copied("roboflow", tmp_path)
    arguments = ["train", "--data", str(data), "--output", str(tmp_path / "run")]
    assert main([*arguments, *SMALL, "--epochs", "1", "--eval-every", "1"]) == 0
    assert "val: 1 images, 1 without boxes" in capsys.readouterr().out
    assert main([*arguments, "--resume", "--epochs", "2", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "val: 1 images" in out and "epoch 2: nothing to measure" in out


def test_a_word_before_a_long_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LARGE_FILE", 10)
    monkeypatch.setattr(progress, "_MANY_FILES", 1)
    for form in ("roboflow", "crowdhuman", "voc", "yolo_folders"):
        read_part(_copied(form, tmp_path), "train")
        assert capsys.readouterr().err.startswith("fcos: reading "), form


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("roboflow", "train is in the form of Roboflow"),
        ("cvat", "'default' is the only part of"),
        ("cvat", "1 of 3 boxes were rotated by their tool (attributes.rotation)"),
        ("lvis", "LVIS labels no object of most categories in most images"),
        ("label_studio_coco", "3 of 3 file names are found without their first folders, such as"),
        ("labelme2coco", "such as '/home/someone/labels/a.png' at "),
        ("label_studio_voc", "left out 1 images that have no XML file"),
        ("datumaro_voc_detection", "1 objects marked difficult are read as crowd"),
        ("datumaro_voc_detection", "val: 1 of 1 images have no XML file: no boxes"),
    ],
)
def test_what_is_said_aloud(
    tmp_path: Path, form: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _copied(form, tmp_path)
    for split in ("train", "val"):
        main(["data", str(data), "--split", split])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("write", "message"),
    [
        ({}, "got nothing"),
        ({"a.jpg": "", "b.jpg": "", "c.csv": ""}, "got 2 .jpg files and 1 .csv files"),
        ({"train/a.jpg": "", "x/y": ""}, "got the folders 'train', 'x'"),
        ({"annotations/instances_train.json": "{}"}, "it has no list 'categories'"),
        ({"_annotations.coco.json": "[]"}, "must be a COCO detection file, got []"),
    ],
)
def test_what_is_not_recognised(
    tmp_path: Path, write: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in write.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert main(["train", "--data", str(tmp_path), "--output", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fcos: error: {tmp_path}") and message in err
    if "COCO detection file" not in err:
        assert "give --annotations FILE --images DIR instead of --data" in err


def test_a_part_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _copied("cvat", tmp_path)
    assert main(["eval", "--data", str(data), "--weights", __file__]) == 2
    err = capsys.readouterr().err
    assert f"no part 'val' in {data}, which has 'default': choose one by --split" in err


def test_a_file_in_the_place_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", __file__]) == 2
    message = f"--data must be a folder, got the file {__file__}: try --annotations {__file__}"
    assert message in capsys.readouterr().err
    (tmp_path / "data.zip").touch()
    assert main(["data", str(tmp_path / "data.zip")]) == 2
    assert capsys.readouterr().err.endswith("data.zip: unpack it\n")


def test_a_folder_around_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a file").touch()
    data = _copied("voc", tmp_path)
    assert main(["data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"try --data {data}\n")


def test_two_names_never_lead_to_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _copied("labelme2coco", tmp_path)
    file = data / "dataset.json"
    file.write_text(file.read_text().replace("labels/b.png", "others/a.png"))
    assert main(["data", str(data)]) == 2
    err = capsys.readouterr().err
    assert "images[1].file_name must lead to another file than images[0].file_name" in err
