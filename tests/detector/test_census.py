"""`fcos data`: what it counts, what it finds odd, and the picture."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fcos.cli import main
from fcos.commands.data import draw
from fcos.data.annotated import AnnotatedImages
from fcos.data.forms import read_file
from PIL import Image

from .forms_by_hand import coco, cvat, photos, roboflow, write
from .helpers import annotation, image_entry, write_dataset


def _census(folder: Path, content: dict[str, Any], *options: str) -> list[str]:
    photos(folder / "images", ["a", "b", "c"])
    write(folder / "labels.json", content)
    arguments = ["--annotations", str(folder / "labels.json"), "--images", str(folder / "images")]
    return ["data", *arguments, *options]


def test_counts(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(data)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train: 4 images, 1 without boxes, 5 boxes; left out: 1 crowd, 2 under a pixel",
        "  sizes: 40 x 60 to 64 x 64, most of them 64 x 48 (1)",
        "  ball 3 boxes in 2 images: 3 small, 0 medium, 0 large",
        "  cup  3 boxes in 2 images: 3 small, 0 medium, 0 large",
        "  hat  1 boxes in 1 images: 1 small, 0 medium, 0 large",
    ]


def test_an_image_that_cannot_be_read_is_not_drawn(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither one that is none, nor one that is cut short, of which the size is there."""
    whole = (data / "train" / "11.png").read_bytes()
    (data / "train" / "11.png").write_bytes(whole[:-500])
    (data / "train" / "12.png").write_text("not an image")
    assert main(["data", str(data), "--output", str(tmp_path / "grid.png")]) == 0
    captured = capsys.readouterr()
    assert "odd: 1 images cannot be read:" in captured.out
    assert captured.out.endswith(f"drew 1 images into {tmp_path / 'grid.png'}\n")
    assert captured.err.count("fcos: not drawn: cannot read the image") == 2


def test_names_that_a_terminal_cannot_show(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = data / "annotations" / "instances_train.json"
    file.write_text(file.read_text().replace("ball", "\N{CJK UNIFIED IDEOGRAPH-7403}"))
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "ascii"))
    assert main(["data", str(data)]) == 0
    sys.stdout.flush()
    assert b"  \\u7403" in written.getvalue()


def test_the_picture_is_a_png(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(data), "--output", str(data / "boxes.jpg")]) == 2
    assert "--output must be a .png file, got" in capsys.readouterr().err


def test_every_part_and_a_picture_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roboflow(tmp_path / "data")
    picture = tmp_path / "grid.png"
    arguments = ["data", str(tmp_path / "data"), "--output", str(picture)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "train: 2 images" in out and "valid: 1 images" in out
    assert "odd: 2 classes without a box: 'ball', 'cup'" in out
    assert f"drew 3 images into {picture}" in out
    with Image.open(picture) as image:
        assert image.format == "PNG" and image.width > 3 * 480
        # the frame of the ball on a.png, which is enlarged by 12
        assert image.convert("RGB").getpixel((4 * 12, 100)) == (255, 63, 63)
    assert main(arguments) == 2
    assert f"{picture} exists: add --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--pictures", "1"]) == 0
    assert "drew 2 images" in capsys.readouterr().out


def test_a_large_image_is_drawn_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (1200, 900)).save(tmp_path / "a.png")
    content = coco(["a"])
    content["images"][0].update(width=1200, height=900)
    content["annotations"][0]["bbox"] = [300, 100, 600, 600]
    write(tmp_path / "labels.json", content)
    drawn = draw(AnnotatedImages(read_file(tmp_path / "labels.json", tmp_path)), 0)
    assert drawn.size == (480, 360) and drawn.getpixel((120, 200)) == (255, 63, 63)


def test_one_part_and_a_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roboflow(tmp_path)
    assert main(["data", str(tmp_path), "--split", "val"]) == 0
    assert capsys.readouterr().out.startswith("val: 1 images")
    assert main(["data", str(tmp_path), "--limit", "1"]) == 0
    assert "train: 1 images" in capsys.readouterr().out


def test_the_folder_by_its_name_as_in_other_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roboflow(tmp_path)
    assert main(["data", str(tmp_path)]) == 0
    expected = capsys.readouterr().out
    assert main(["data", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == expected != ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "one of the arguments --data DIR --annotations is required"),
        (["a", "--data", "b"], "argument --data: not allowed with argument DIR"),
        (["--data", "b", "a"], "argument DIR: not allowed with argument --data"),
        (["a", "--annotations", "b"], "argument --annotations: not allowed with argument DIR"),
    ],
)
def test_one_source_of_data(
    capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", *given])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"fcos data: error: {message}"


def test_a_part_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roboflow(tmp_path)
    (tmp_path / "train" / "_annotations.coco.json").write_text("{")
    assert main(["data", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "train/_annotations.coco.json: not a JSON file" in captured.err
    assert "valid: 1 images" in captured.out


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([[0.1, 0.1, 0.2, 0.5], [0.5, 0.5, 0.5, 0.5]], "all 2 boxes lie within 0..1"),
        (
            [[20, 12, 30, 20], [25, 20, 40, 30]],
            "2 of 2 boxes reach beyond their image: bbox must be",
        ),
        ([[20, 12, 10, 10], [25, 20, 40, 30]], ""),
        ([[20, 12, 30, 10], [25, 20, 40, 30]], ""),  # the first would be no corners
        ([[4, 3, 30, 20], [2, 2, 20, 15]], ""),  # inside, whatever they mean
        ([[20, 12, 20.5, 18], [25, 20, 15, 10]], ""),
    ],
)
def test_boxes_that_look_meant_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], boxes: list[list[float]], said: str
) -> None:
    content = coco(["a"])
    for entry, box in zip(content["annotations"], boxes, strict=True):
        entry["bbox"] = box
    assert main(_census(tmp_path, content)) == 0
    err = capsys.readouterr().err
    assert said in err if said else not err


def test_odd_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = coco(["a", "b", "c"])
    content["annotations"].append(dict(content["annotations"][0]))  # datumaro doubles ids, too
    content["images"][1]["width"] = 33
    arguments = _census(tmp_path, content)
    (tmp_path / "images" / "c.png").write_text("not an image")
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "odd: 1 boxes are there twice, with the same class and corners" in out
    assert "1 images have another size:\n" in out and "b.png: 32 x 24, stated 33 x 24\n" in out
    assert "  odd: 1 images cannot be read:\n    cannot read the image" in out


def test_twenty_are_listed_of_what_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [image_entry(number, 32, 32) for number in range(23)]
    boxes = [annotation(number, 3, [0, 0, 9, 9]) for number in range(23)]
    write_dataset(tmp_path, "train", images, boxes)
    for file in (tmp_path / "train").iterdir():
        file.write_text("not an image")
    assert main(["data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "  odd: 23 images cannot be read:\n    cannot read the image" in out
    assert out.count("cannot read the image") == 20 and "\n    and 3 more\n" in out
    path = tmp_path / "annotations" / "instances_train.json"
    path.write_text(path.read_text().replace("[0, 0, 9, 9]", "[1]"))
    assert main(["data", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 21 and all("].bbox must be four" in line for line in errors[:20])
    assert errors[20] == "fcos: error: and 3 more entries"


def test_an_image_without_boxes_needs_no_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Label Studio writes null."""
    content = coco(["a", "b", "c"])
    content["images"][2].update(width=None, height=None)
    assert main(_census(tmp_path, content)) == 0
    assert capsys.readouterr().out.startswith("labels.json: 3 images, 1 without boxes, 3 boxes")


@pytest.mark.parametrize(
    "name", ["/data/upload/1/a.png", "images\\a.png", "../../x/a.png", "C:\\photos\\a.png"]
)
def test_names_of_other_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content = coco(["a"])
    content["images"][0]["file_name"] = name
    assert main(_census(tmp_path, content)) == 0
    assert "1 of 1 file names are found without their first folders" in capsys.readouterr().err


def test_names_that_lead_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = coco(["a"])
    content["images"][0]["file_name"] = "/data/upload/1/z.png"
    assert main(_census(tmp_path, content)) == 2
    assert "image not found: /data/upload/1/z.png (1 of 1 are missing)" in capsys.readouterr().err


def test_it_needs_no_torch(tmp_path: Path) -> None:
    cvat(tmp_path)
    script = (
        "import sys; sys.modules['torch'] = None; from fcos.cli import main; "
        f"sys.exit(main(['data', {str(tmp_path)!r}, '--output', {str(tmp_path / 'x.png')!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "default: 3 images" in result.stdout and (tmp_path / "x.png").is_file()


def test_more_classes_than_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path, "train", [image_entry(1, 32, 32)], [annotation(1, 3, [0, 0, 9, 9])])
    file = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["categories"] = [{"id": i, "name": f"class {i}"} for i in range(1, 1204)]
    file.write_text(json.dumps(content))
    assert main(["data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "and 1103 more classes" in out and "odd: 1202 classes without a box" in out
