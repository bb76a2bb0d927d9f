"""What `fcos eval --plots` draws: whatever the classes are called, and without a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fcos.evaluation.average_precision import Evaluation
from fcos.pictures import plots
from fcos.pictures.plots import PLOT_NAMES, write_plots
from matplotlib import ft2font
from PIL import Image, features

PALATAL = "\N{LATIN SMALL LETTER D WITH PALATAL HOOK}og"  # matplotlib's own font lacks it
RING = "x\N{COMBINING RING ABOVE}"
SYSTEM_FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "STIXGeneral.ttf")


def _write(folder: Path, names: Sequence[str]) -> None:
    """Of categories with an object each, found or named as the next."""
    box = [0.0, 0.0, 20.0, 20.0]
    ids = [3 + 4 * place for place in range(len(names))]
    truth = {
        "images": [{"id": number} for number in ids],
        "categories": [{"id": number, "name": ""} for number in ids],
        "annotations": [
            {"id": n, "image_id": n, "category_id": n, "bbox": box, "area": 400, "iscrowd": 0}
            for n in ids
        ],
    }
    found = [{"image_id": n, "category_id": ids[0], "bbox": box, "score": 0.9} for n in ids]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of glyphs that are missing
        write_plots(Evaluation(truth, found), names, folder, min_score=0.3)


@pytest.mark.parametrize(
    "names", [["ball", "cup"], ["$x^{$", "犬\n"], ["", "é" * 200], [PALATAL, RING, "كلب"]]
)
def test_any_name_is_drawn(tmp_path: Path, names: list[str]) -> None:
    _write(tmp_path, names)
    for name in PLOT_NAMES:
        with Image.open(tmp_path / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_names_in_fonts_of_the_system(
    tmp_path: Path,
    system_fonts: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As in other pictures; else the id, as where matplotlib or Pillow cannot join letters."""
    labels = [plots._label(7, name) for name in ("ball", "$5", "a\nb", PALATAL)]
    assert labels == ["ball", r"\$5", "a b", "category 7"]
    assert plots._label(7, "a name of more than thirty letters") == "a name of more than t..."
    system_fonts(SYSTEM_FONT)
    assert plots._label(7, PALATAL) == PALATAL
    _write(tmp_path, [PALATAL, "ball"])
    assert not caplog.records  # of fonts that matplotlib looked for in vain
    monkeypatch.delattr(ft2font, "__libraqm_version__", raising=False)
    assert plots._label(7, RING) == "category 7"


@pytest.mark.skipif(
    not (features.check("raqm") and hasattr(ft2font, "__libraqm_version__")),
    reason="this Pillow or matplotlib is without libraqm, which joins letters: names are then ids",
)
def test_joined_letters_are_drawn(system_fonts: Callable[..., None]) -> None:
    assert plots._label(7, RING) == RING


def test_classes_of_one_name_have_a_curve_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []
    draw = plots._draw_curves
    monkeypatch.setattr(
        plots, "_draw_curves", lambda curves: drawn.append([n for n, _ in curves]) or draw(curves)
    )
    _write(tmp_path, ["cup", "cup", "ball"])
    assert drawn == [["cup", "cup", "ball"]]


def test_a_name_that_begins_with_an_underscore_is_in_the_legend() -> None:
    (axes,) = plots._draw_curves([(plots._label(1, "_ball"), np.ones(101))]).axes
    assert [text.get_text().split()[0] for text in axes.get_legend().get_texts()][0] == "_ball"


def test_many_classes(tmp_path: Path) -> None:
    _write(tmp_path, [str(i) for i in range(100)])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PLOT_NAMES)


def test_no_classes_with_objects(tmp_path: Path) -> None:
    truth = {"images": [{"id": 1}], "categories": [{"id": 3, "name": "ball"}], "annotations": []}
    write_plots(Evaluation(truth, []), ["ball"], tmp_path, min_score=0.3)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PLOT_NAMES)
