"""`fcos show`: what is drawn of annotations and detections, in which order, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fcos.cli import main
from fcos.data import CocoDataset, find_split
from fcos.data.annotated import AnnotatedImages
from fcos.evaluation.comparison import Comparison, compare, truth_alone
from fcos.pictures.files import plan_pictures
from fcos.pictures.gallery import STYLES, Gallery
from fcos.training.checkpoint import save_checkpoint
from PIL import Image

from .helpers import annotation, decided_model, image_entry, write_dataset


def _result(image: int, category: int, bbox: list[float], score: float = 0.9) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": bbox, "score": score}


CUP, BALL = [4.0, 6.0, 20.0, 24.0], [30.0, 10.0, 25.0, 30.0]  # both on image 11 of `data`
RESULTS = [
    _result(11, 7, CUP),
    _result(11, 7, BALL, 0.8),  # which is a ball
    _result(11, 40, [40, 30, 9, 9], 0.7),
    _result(11, 3, [0, 0, 5, 5], 0.2),
    _result(12, 3, [2, 2, 20, 20]),  # in the crowd
    _result(14, 3, [40, 40, 9, 9]),
]


@pytest.fixture
def annotated(dataset: CocoDataset) -> AnnotatedImages:
    return dataset.annotated


def _outcomes(own: Comparison) -> tuple[list[str], list[str]]:
    return [one.outcome for one in own.truth], [one.outcome for one in own.found]


def test_what_became_of_each(annotated: AnnotatedImages) -> None:
    truth = annotated.ground_truth()
    own = compare(truth, RESULTS, min_score=0.3)
    assert _outcomes(own[11]) == (["found", "misnamed"], ["found", "misnamed", "false"])
    assert own[11].truth[1].other == 7 and own[11].found[1].other == 3
    assert _outcomes(own[12]) == (["missed", "crowd"], ["ignored"])
    assert _outcomes(own[13]) == ([], [])
    assert _outcomes(own[14]) == (["missed"] * 4, ["false"])
    assert [own[number].errors() for number in (11, 12, 13, 14)] == [2, 1, 0, 5]
    alone = truth_alone(truth)
    assert _outcomes(alone[12]) == (["object", "crowd"], [])


def test_worst_first(annotated: AnnotatedImages) -> None:
    gallery = Gallery(annotated, annotated.ground_truth(), RESULTS, min_score=0.3)
    assert gallery.worst_first() == [3, 0, 1, 2]
    lower = Gallery(annotated, annotated.ground_truth(), RESULTS, min_score=0.95)
    assert lower.worst_first() == [3, 0, 1, 2] and lower.errors(0) == 2


def _red(picture: Image.Image) -> int:
    colour = STYLES["missed"].colour
    assert colour is not None
    return int((np.asarray(picture) == colour).all(-1).sum())


def test_pictures_show_it(annotated: AnnotatedImages) -> None:
    """Missed objects are drawn, those outside are not; the detections are beside them."""
    truth = annotated.ground_truth()
    found, nothing = (Gallery(annotated, truth, r, min_score=0.3) for r in (RESULTS, []))
    assert _red(found.draw(1)) > 50 and _red(found.draw(2)) == 0
    assert _red(nothing.draw(0)) > _red(found.draw(0)) > 0
    alone = Gallery(annotated, truth, None, min_score=0.3).draw(0)
    assert _red(alone) == 0 and 2 * alone.width < found.draw(0).width + 10


def test_boxes_that_no_one_trains_on_are_named(
    annotated: AnnotatedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image 14 has one that is cut, two under a pixel and a whole one."""
    captions, titles = _drawn(monkeypatch, annotated, None)
    assert captions == ["ball", "ball (under a pixel)", "cup (under a pixel)", "cup"]
    assert titles == ["truth: objects 4, not trained on (under a pixel) 2"]


def test_boxes_outside_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [annotation(1, 3, [70, 5, 9, 9]), annotation(1, 7, [5, 5, 9, 9])]
    write_dataset(tmp_path, "train", [image_entry(1, 64, 48)], boxes)
    captions, titles = _drawn(
        monkeypatch, CocoDataset(*find_split(tmp_path, "train")).annotated, None, 0
    )
    assert captions == ["cup"] and titles == ["truth: objects 2, not trained on (outside) 1"]


def test_titles_and_captions_of_a_comparison(
    annotated: AnnotatedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions, titles = _drawn(monkeypatch, annotated, RESULTS, index=0)
    expected = ["cup", "ball (as cup)", "hat 0.70", "cup 0.80 (is ball)", "cup 0.90"]
    assert captions == expected  # the best on top
    assert titles == [
        "truth: found (solid) 1, misnamed (dotted) 1",
        "detections from 0.3 on: found (solid) 1, misnamed (dotted) 1, false (dashed) 1",
    ]
    captions, titles = _drawn(monkeypatch, annotated, RESULTS, index=1)
    assert captions == ["hat", "ball (crowd)", "ball 0.90"]
    assert titles[1] == "detections from 0.3 on: in a crowd (thin) 1"
    assert _drawn(monkeypatch, annotated, RESULTS, index=2)[1][0] == "truth: nothing"


def _drawn(
    monkeypatch: pytest.MonkeyPatch,
    annotated: AnnotatedImages,
    results: list[dict[str, Any]] | None,
    index: int = 3,
) -> tuple[list[str], list[str]]:
    """The captions and titles of an image."""
    captions: list[str] = []
    titles: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "fcos.pictures.gallery.draw_boxes",
            lambda image, boxes: captions.extend(b.caption for b in boxes),
        )
        patch.setattr(
            "fcos.pictures.gallery.side_by_side", lambda panels: titles.extend(t for t, _ in panels)
        )
        Gallery(annotated, annotated.ground_truth(), results, min_score=0.3).draw(index)
    return captions, titles


def _show(data: Path, output: Path, *more: str) -> int:
    return main(["show", "--data", str(data), "--split", "train", "--output", str(output), *more])


def test_truth_alone(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _show(data, tmp_path / "out", "--limit", "2") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["11.png", "12.png", "index.png"]
    assert "drew 2 pictures and index.png into" in capsys.readouterr().out
    assert _show(data, tmp_path / "out", "--limit", "2") == 2
    assert "exists: add --overwrite" in capsys.readouterr().err
    assert _show(data, tmp_path / "out", "--limit", "2", "--overwrite") == 0


def test_the_worst_of_a_file_of_results(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(RESULTS))
    source = ["--results", str(file), "--sort", "worst"]
    assert _show(data, tmp_path / "out", *source, "--pictures", "1") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["14.png", "index.png"]
    assert "4 images, 8 errors\n" in capsys.readouterr().out
    # of cups there are two found boxes, one of them of a ball
    assert _show(data, tmp_path / "cups", *source, "--classes", "cup", "--pictures", "1") == 0
    assert "4 images, 3 errors\n" in capsys.readouterr().out
    assert _show(data, tmp_path / "two", *source, "--limit", "2") == 0
    assert "2 images, 3 errors\n" in capsys.readouterr().out


def test_detections_of_weights_are_those_that_eval_writes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One by one, and drawn in one way."""
    weights, results = str(tmp_path / "model.pth"), str(tmp_path / "results.json")
    save_checkpoint(Path(weights), decided_model())
    evaluation = ["eval", "--data", str(data), "--split", "train", "--device", "cpu"]
    evaluation += ["--weights", weights, "--output", results, "--draw", str(tmp_path / "eval")]
    assert main(evaluation) == 0
    assert _show(data, tmp_path / "weights", "--weights", weights, "--device", "cpu") == 0
    assert _show(data, tmp_path / "results", "--results", results) == 0
    written = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("eval", "weights", "results")
    ]
    assert len(written[0]) == 5 and written[0] == written[1] == written[2]


@pytest.mark.parametrize("more", [["--limit", "2"], ["--classes", "cup"]])
@pytest.mark.parametrize("field", ["image_id", "category_id"])
def test_ids_of_results_that_are_none(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    field: str,
    more: list[str],
) -> None:
    (tmp_path / "results.json").write_text(json.dumps([{**_result(11, 7, CUP), field: [1]}]))
    source = ["--results", str(tmp_path / "results.json")]
    assert _show(data, tmp_path / "out", *source, *more) == 2
    assert f"results[0].{field} must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--sort worst", "--sort worst must come with --weights or --results, got neither"),
        ("--iou-threshold 0.5", "--iou-threshold must come with --weights, got none"),
        ("--class-agnostic --results FILE", "--class-agnostic must come with --weights"),
        ("--results none.json", "file of results not found: none.json"),
        ("--results TEXT", "--results must be a JSON list of detections, as `fcos eval --output`"),
        ("--results DICTIONARY", "--results must be a JSON list of detections"),
        ("--results DEEP", "--results must be a JSON list of detections"),
        ("--results .", "file of results not found: ."),
        ("--results UNKNOWN", "results[0].image_id must be the id of an image of ground_truth"),
        ("--classes dog", "--classes must be names or ids of categories, of 'ball', 'cup', 'hat'"),
        ("--weights none.pth", "file of weights not found: none.pth"),
    ],
)
def test_what_is_refused_is_refused_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    contents = {
        "FILE": "[]",
        "TEXT": "boxes",
        "DICTIONARY": "{}",
        "UNKNOWN": "[{}]",
        "DEEP": "[" * 10**5,
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        options = options.replace(name, str(tmp_path / name))
    assert _show(data, tmp_path / "out", *options.split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pictures_of_one_name_are_numbered() -> None:
    paths = ["a.jpg", "b/a.png", "a-2.jpg", "index.jpg", "c/a.jpg", "b/index.jpg"]
    names = [path.name for path in plan_pictures(paths, "out", taken=["index"])]
    assert names == ["a.png", "a-2.png", "a-2-2.png", "index-2.png", "a-3.png", "index-3.png"]


def test_pictures_never_replace_images(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (data / "train" / "11.png").read_bytes()
    assert _show(data, data / "train", "--overwrite") == 2
    assert "must be another folder than that of the image" in capsys.readouterr().err
    assert (data / "train" / "11.png").read_bytes() == before
