"""What a training is told: options, KEY=VALUE, config.json, recipes, and which of them counts."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.configuration import DEFAULTS, NAMES, Configuration, Values, complete, merge
from fcos.errors import UserError
from fcos.options.commands import make_parser
from fcos.options.overrides import add_pairs, describe, read_config, to_text
from fcos.options.shared import add_split_and_limit, add_validation, add_workers
from fcos.options.training import add_model, add_recipe
from fcos.recipes import RECIPES
from fcos.training import load_checkpoint

from .helpers import SMALL

KEY_VALUE = (
    "backbone=resnet18 backbone_width=8 width=16 depth=1 norm=gn size=64 max_size=96 batch=2 "
    "steps=3 lr=0.02 optimizer=adamw log-every=1 drop_empty=true schedule=step milestones=2/3,0.9"
).split()


def _train(data: Path, output: Path, *more: str) -> int:
    return main(["train", "--data", str(data), "--output", str(output), "--device", "cpu", *more])


def _config(run: Path) -> dict[str, Any]:
    found = json.loads((run / "config.json").read_text())
    assert isinstance(found, dict)
    return found


def _merged(given: Values, file: Values | None = None, stored: Values | None = None) -> Values:
    return merge(given, file or {}, stored or {}).values


def _completed(given: Values, images: int = 100_000) -> Configuration:
    return complete(merge(given, {}, {}), images)[0]


def test_every_value_has_an_option_with_its_default_in_the_help() -> None:
    parser = argparse.ArgumentParser()
    add_split_and_limit(parser, "train")
    add_validation(parser)
    add_workers(parser)
    add_model(parser.add_argument_group())
    add_recipe(parser.add_argument_group())
    described = {action.dest: action.help or "" for action in parser._actions}
    for name in NAMES:
        if name != "steps":  # that is instead of --epochs
            assert "(default" in described[name], name
        value = DEFAULTS.get(name)
        if isinstance(value, str) or (type(value) in (int, float) and value):
            shown = value if isinstance(value, str) else f"{value:g}"
            assert f"(default {shown})" in described[name], name


def test_key_value_is_the_option_of_that_name(data: Path, tmp_path: Path) -> None:
    options = [f"--{text.replace('_', '-')}" for text in KEY_VALUE if "drop_empty" not in text]
    assert _train(data, tmp_path / "a", *KEY_VALUE[:4], "--seed", "5", *KEY_VALUE[4:]) == 0
    assert _train(data, tmp_path / "b", *options, "--drop-empty", "--seed=5") == 0
    assert _config(tmp_path / "a") == _config(tmp_path / "b")
    weights = [load_checkpoint(tmp_path / run / "last.pth")["model"] for run in ("a", "b")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("lr=0", "argument --lr: must be a number above 0 and below 1e+06, got '0'"),
        ("batch=2.5", "argument --batch: must be a whole number from 1 to 1e+09, got '2.5'"),
        ("optimizer=adam", "argument --optimizer: invalid choice: 'adam'"),
        ("drop_empty=yes", "argument --drop-empty: must be true or false, got 'yes'"),
        ("freezeat=2", "no such KEY: freezeat=2; the nearest is freeze_at"),
        ("learning=1", "no such KEY: learning=1; see the options in --help"),
        ("data=x", "data must be given as --data, got data=x"),
        ("backbone_weights=x", "backbone_weights must be given as --backbone-weights"),
        ("lr=1 lr=2", "lr must be given once, got lr=1 and lr=2"),
        ("seed=1", "seed must be given once, got an option and KEY=VALUE"),
        ("steps=1 epochs=1", "not allowed with argument"),
        ("milestones=3/4,1/2", "argument --milestones: must be rising shares of the steps"),
        ("milestones=1/0", "argument --milestones: must be rising"),
        ("milestones=1/2,1", "argument --milestones: must be rising"),
        ("ep=3", "no such KEY: ep=3"),
        ("lr", "unrecognized arguments: lr"),
        ("--nonsense", "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pairs: str, message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        _train(tmp_path, tmp_path / "run", "--seed", "3", *pairs.split())
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"fcos train: error: {message}") or message in lines[-1]
    assert len(lines) < 5 and not (tmp_path / "run").exists()


def test_a_value_of_an_option_may_look_like_a_pair(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "x" / ".." / "lr=0.5"
    assert _train(data, output, *SMALL, "steps=1") == 0
    assert _config(tmp_path / "lr=0.5")["lr"] == pytest.approx(0.01 * 2 / 16)


def test_pairs_go_with_train_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["scenes", "--output", "x", "seed=1"])
    assert stop.value.code == 2
    assert "unrecognized arguments: seed=1" in capsys.readouterr().err


def test_a_run_that_reads_config_json_back_trains_the_same(data: Path, tmp_path: Path) -> None:
    recipe = ["epochs=1.5", "ema=0.9", "clip=0", "warmup_factor=0.3", "warmup=2", "momentum=0.8"]
    assert _train(data, tmp_path / "a", *SMALL, *recipe, "--limit", "3") == 0
    config = str(tmp_path / "a" / "config.json")
    assert _train(data, tmp_path / "b", "--config", config) == 0
    assert _config(tmp_path / "b") == _config(tmp_path / "a")
    first, second = (load_checkpoint(tmp_path / run / "last.pth") for run in ("a", "b"))
    assert first["settings"] == second["settings"] and first["data"] == second["data"]
    assert first["config"] == second["config"]
    assert all(torch.equal(second["model"][name], first["model"][name]) for name in first["model"])


def test_every_value_survives_the_file(tmp_path: Path) -> None:
    for name, recipe in RECIPES.items():
        known = {key: value for key, value in recipe.items() if key in NAMES}
        configuration = _completed({"recipe": name, **known, "limit": 7})
        path = tmp_path / "config.json"
        path.write_text(json.dumps(dataclasses.asdict(configuration)))
        assert complete(merge({}, read_config(path), {}), 100_000)[0] == configuration


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "must hold a JSON object, got []"),
        ("{", "must be a file of JSON: "),
        ('{"learning_rate": 1}', "no such KEY: 'learning_rate'"),
        ('{"lr": -1}', "argument --lr: must be a number above 0 and below 1e+06, got '-1'"),
        ('{"batch": 2.5}', "argument --batch: must be a whole number"),
        ('{"batch": null}', "batch must be a value, got None"),
        ('{"lr": null}', "lr must be a value, got None"),
        ('{"split": null}', "split must be a value, got None"),
        ('{"lr": 0.1, "lr": 0.2}', "lr must be given once, got 0.1 and 0.2"),
        ("[" * 100_000, "must be a file of JSON: "),
        ('{"drop_empty": 1}', "argument --drop-empty: must be true or false, got '1'"),
        ('{"preset": "mine"}', "argument --preset: invalid choice: 'mine'"),
        ('{"milestones": "soon"}', "argument --milestones: must be rising"),
        ('{"lr": {"a": 1}}', "lr must be a value, got {'a': 1}"),
        ('{"recipe": "paper-3x"}', "argument --recipe: invalid choice"),
    ],
)
def test_wrong_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    assert _train(tmp_path, tmp_path / "run", "--config", str(path)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fcos: error: --config {path}") and message in err
    assert err.count("\n") == 1


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(tmp_path, tmp_path / "run", "--config", "no.json") == 2
    assert capsys.readouterr().err == "fcos: error: file of --config not found: no.json\n"


def test_which_source_counts() -> None:
    """Command line, file, what is stored, recipe, defaults."""
    given, file, stored = ({"clip": clip} for clip in (1.0, 2.0, 3.0))
    recipe: Values = {"recipe": "mmdet-1x"}
    assert _merged({**recipe, **given}, file, stored)["clip"] == 1.0
    assert _merged(recipe, file, stored)["clip"] == 2.0
    assert _merged(recipe, {}, stored)["clip"] == 3.0
    assert _merged(recipe)["clip"] == 35.0 and _merged({})["clip"] == 10.0


def test_one_length_ends_the_other() -> None:
    images = 160
    assert _completed({"recipe": "paper-1x", "epochs": 2.0}, images).steps == 20
    assert _completed({"recipe": "mmdet-1x", "steps": 7}, images).epochs is None
    stored: Values = {"steps": 50, "epochs": 5.0}
    assert complete(merge({"steps": 7}, {}, stored), images)[0].steps == 7
    assert complete(merge({}, {"steps": 7, "epochs": None}, stored), images)[0].steps == 7
    assert complete(merge({"epochs": 1.0}, {}, stored), images)[0].steps == 10
    assert complete(merge({}, {}, stored), 320)[0].steps == 100  # five epochs of other data
    assert complete(merge({}, {}, {"steps": 50}), 320)[0].steps == 50  # of an older checkpoint


def test_another_batch_changes_a_recipe_in_proportion() -> None:
    found = _completed({"recipe": "adelaidet-1x", "batch": 8})
    assert (found.lr, found.steps, found.warmup) == (0.005, 180_000, 2000)
    found = _completed({"recipe": "mmdet-1x", "batch": 32}, images=117_266)
    assert (found.lr, found.steps, found.warmup) == (0.02, 43_975, 250)
    found = _completed({"recipe": "paper-1x", "batch": 8, "lr": 0.3, "steps": 500, "warmup": 400})
    assert (found.lr, found.steps, found.warmup) == (0.3, 500, 400)  # what is given stays
    assert _completed({"recipe": "paper-1x", "optimizer": "adamw"}).lr == 5e-4
    assert _completed({"recipe": "paper-1x", "steps": 100}).warmup == 10


@pytest.mark.parametrize(
    ("file", "stored", "option"),
    [({"recipe": None}, {}, "--config"), ({}, {"recipe": "paper-2x"}, "--resume")],
)
def test_a_recipe_without_effect_is_refused(file: Values, stored: Values, option: str) -> None:
    with pytest.raises(UserError, match=f"^--recipe must not be given with {option}"):
        merge({"recipe": "paper-1x"}, file, stored)
    merge({"recipe": "paper-1x"}, {"lr": 1.0}, {"recipe": "paper-1x"})


def test_a_recipe_of_a_file_has_no_effect_on_what_is_stored() -> None:
    expected = "^recipe of --config must not be given with --resume, .* got paper-2x over paper-1x"
    with pytest.raises(UserError, match=expected):
        merge({}, {"recipe": "paper-2x"}, {"recipe": "paper-1x"})
    merge({}, {"recipe": "paper-1x"}, {"recipe": "paper-1x"})


def test_a_long_side_that_follows_from_the_short_one() -> None:
    configuration, sources = complete(merge({"size": 1400}, {}, {}), 100)
    assert (configuration.max_size, sources["max_size"]) == (1400, "derived")
    assert complete(merge({"size": 800}, {}, {}), 100)[1]["max_size"] == "default"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("ema=1", "ema must be at least 0 and less than 1, got 1.0"),
        ("batch=5 accumulate=2", "batch must be a multiple of 2"),
        ("size=64 scales=1400", "--scales must be at most --max-size, 1333, got 1400"),
        ("recipe=paper-1x", "--freeze-at must be 0 without --weights or --backbone-weights"),
    ],
)
def test_values_are_checked_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: str, message: str
) -> None:
    assert _train(tmp_path / "nowhere", tmp_path / "run", *values.split()) == 2
    assert capsys.readouterr().err.startswith(f"fcos: error: {message}")


def test_the_line_says_where_values_are_from(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.json").write_text('{"recipe": "paper-1x", "clip": 5, "freeze_at": 0}')
    more = ["--config", str(tmp_path / "mine.json"), "lr=0.003", "--steps", "1"]
    assert _train(data, tmp_path / "a", *SMALL, *more) == 0
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("recipe: "))
    parts = line.removeprefix("recipe: ").split("; ")
    origins = [part.rpartition(" (")[2].rstrip(")") for part in parts]
    mine = str(tmp_path / "mine.json")
    assert origins == ["given", mine, "paper-1x", "derived, for a batch of 2", "default"]
    assert "lr=0.003" in parts[0] and "size=64" in parts[0]
    assert parts[1] == f"freeze_at=0 clip=5 recipe=paper-1x ({mine})"
    assert "preset=paper" in parts[2] and "milestones=2/3,8/9" in parts[2]
    assert parts[3] == "warmup=0 (derived, for a batch of 2)" and "seed=0" in parts[4]
    shown = {pair.split("=")[0] for part in parts for pair in part.split(" (")[0].split()}
    assert shown == {name for name in NAMES if _config(tmp_path / "a")[name] is not None}


def test_a_line_can_be_given_back() -> None:
    configuration = _completed({"recipe": "torchvision", "batch": 4, "milestones": (0.6667, 0.9)})
    line = describe(configuration, dict.fromkeys(NAMES, "default"), {})
    pairs = line.removeprefix("recipe: ").removesuffix(" (default)").split()
    options = argparse.Namespace()
    add_pairs(options, [pair for pair in pairs if not pair.startswith("steps=")])
    assert complete(merge(vars(options), {}, {}), 100_000)[0] == configuration


def test_numbers_as_texts() -> None:
    values = [0.1 + 0.2, 1e-5, 10.0, 1234567.0, True, (60000, 0.5), (2 / 3, 0.123456789), "640-800"]
    texts = [
        "0.30000000000000004",
        "1e-05",
        "10",
        "1234567",
        "true",
        "60000,1/2",
        "2/3,0.123456789",
    ]
    assert [to_text(value) for value in values] == [*texts, "640-800"]


def test_resume_writes_changes_into_config_json(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "a"
    assert _train(data, run, *SMALL, "--epochs", "1") == 0
    before = _config(run)
    written = (run / "config.json").stat().st_ino
    assert _train(data, run, "--resume") == 0
    assert _config(run) == before and (run / "config.json").stat().st_ino == written
    assert _train(data, run, "--resume", "epochs=2", "clip=1") == 0
    assert _config(run) == {**before, "epochs": 2.0, "steps": 4, "clip": 1.0}


def test_images_without_boxes_are_left_out_and_counted(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [*SMALL, "--batch", "1", "drop_empty=true", "epochs=2"]
    assert _train(data, tmp_path / "a", *more) == 0
    first = "train: 3 images, 0 without boxes, 5 boxes; left out: 1 crowd, 2 under a pixel, "
    assert capsys.readouterr().out.startswith(first + "1 images without boxes\n")
    assert _train(data, tmp_path / "a", "--resume", "epochs=3") == 0
    assert first in capsys.readouterr().out and _config(tmp_path / "a")["steps"] == 9
    assert load_checkpoint(tmp_path / "a" / "last.pth")["data"]["images"] == 3


def test_a_recipe_from_nothing_says_what_it_needs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "a", "--recipe", "torchvision", "backbone=resnet18") == 2
    expected = "got 2 (--recipe torchvision starts from --backbone-weights of ImageNet)"
    assert expected in capsys.readouterr().err


def test_the_parser_knows_the_recipes() -> None:
    options = make_parser().parse_args(
        ["train", "--data", "x", "--output", "y", "--recipe", "mmdet-1x", "--preset", "improved"]
    )
    assert merge(vars(options), {}, {}).values["preset"] == "improved"
