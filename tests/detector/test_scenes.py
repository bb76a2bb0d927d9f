"""Scenes: a sound COCO data set, the same for the same seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fcos.cli import main
from fcos.data import CocoDataset, find_split
from fcos.errors import UserError
from fcos.preprocessing import Preprocessing
from fcos.scenes import CLASS_NAMES, draw_scene, write_scenes, write_split


def test_sides_that_have_no_room_for_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scenes", "--output", "none", "--size", "15"])
    assert "argument --size: must be a whole number from 16 to 100000" in capsys.readouterr().err


def test_scenes_are_a_coco_data_set(tmp_path: Path) -> None:
    write_scenes(tmp_path, train=12, val=5, size=96)
    dataset = CocoDataset(*find_split(tmp_path, "train"), Preprocessing(size=96, max_size=96))
    assert len(dataset) == 12 and dataset.class_names == CLASS_NAMES
    assert len(CocoDataset(*find_split(tmp_path, "val"))) == 5
    truth = dataset.ground_truth()["annotations"]
    for a in truth:
        x, y, width, height = a["bbox"]
        assert x >= 0 and y >= 0 and x + width <= 96.01 and y + height <= 96.01
        assert 0 < a["area"] <= width * height + 0.1
        assert 9 <= max(width, height) <= 48.1
    assert len({a["category_id"] for a in truth}) == len(CLASS_NAMES)


def test_boxes_enclose_what_was_drawn() -> None:
    """A lone shape is the only place of its colour; the bounds of its outline are where it ends."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        image, [(_, outline)] = draw_scene(rng, 64, max_shapes=1, min_side=12, max_side=40)
        pixels = np.asarray(image).astype(int)
        x, y = np.mean(outline, axis=0).astype(int)
        rows, columns = np.nonzero(np.abs(pixels - pixels[y, x]).max(-1) == 0)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        bounds = [*np.min(outline, axis=0), *np.max(outline, axis=0)]
        # pointed corners blend into the background: up to a few pixels inside, never outside
        inward = np.array(found) - bounds
        inward[2:] *= -1
        assert (inward > -1).all() and (inward < 6).all(), (seed, found, bounds)


def test_annotations_follow_the_outlines(tmp_path: Path) -> None:
    content = json.loads(write_split(tmp_path, "one", 8, size=64, seed=3).read_text())
    for a in content["annotations"]:
        points = np.array(a["segmentation"][0]).reshape(-1, 2)
        low, high = points.min(0), points.max(0)
        assert a["bbox"] == pytest.approx([*low, *(high - low)], abs=0.02)


def test_same_seed_same_files(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_split(tmp_path / name, "train", 2, size=64, seed=seed)
    first, second, third = (
        (tmp_path / n / "train" / "000002.jpg").read_bytes() for n in ("a", "b", "c")
    )
    assert first == second != third


def test_a_scene_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    write_split(tmp_path / "a", "train", 1, size=64, seed=0)
    write_split(tmp_path / "b", "train", 3, size=64, seed=0)
    one, other = ((tmp_path / n / "train" / "000001.jpg").read_bytes() for n in ("a", "b"))
    assert one == other


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count"):
        write_split(tmp_path, "train", 0, size=64, seed=0)
    with pytest.raises(ValueError, match="min_side"):
        write_split(tmp_path, "train", 1, size=64, seed=0, min_side=50, max_side=20)


@pytest.mark.parametrize("name", ["train/000002.jpg", "annotations/instances_val.json"])
def test_nothing_is_written_where_something_else_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(UserError, match=f"{name} is of another data set"):
        write_scenes(tmp_path, train=2, val=1, size=64)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert path.read_text() == "mine"


def test_scenes_that_were_interrupted_may_be_written_again(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 2, size=64, seed=0).unlink()
    write_scenes(tmp_path, train=2, val=1, size=64)


def test_a_demo_never_replaces_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "last.pth").write_text("mine")
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "last.pth is not of a demo: choose another --output" in capsys.readouterr().err
