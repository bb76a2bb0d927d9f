"""A rule is the same in Python and in the public C++ headers: fields, order, words and defaults."""

import re
from typing import Any, NamedTuple

import pytest

from fcos_ops import ASSIGNMENT_RULES, LOSS_RULES, POSTPROCESS_RULES, _constants
from fcos_ops.presets import matching_switches
from tests.repository import REPOSITORY

HEADERS = REPOSITORY / "csrc/include/fcos_ops"
INT64_MAX = 2**63 - 1


class Field(NamedTuple):
    """As a header declares it: `type name = value;`."""

    type: str
    name: str
    value: str


def header(name: str) -> str:
    return re.sub(r"//.*", "", (HEADERS / name).read_text())


def fields(name: str, struct: str) -> list[Field]:
    (body,) = re.findall(rf"struct {struct} \{{(.*?)\n\}};", header(name), re.DOTALL)
    return [Field(*found) for found in re.findall(r"([\w:]+) (\w+) = ([^;]+);", body)]


def words(enum: str) -> tuple[str, ...]:
    """The enumerators of an enum by their values, kLinearIou as "linear_iou"."""
    text = "".join(header(path.name) for path in sorted(HEADERS.glob("*.h")))
    (body,) = re.findall(rf"enum class {enum} : std::int32_t \{{(.*?)\}};", text, re.DOTALL)
    found = re.findall(r"k(\w+) = (\d+)", body)
    assert [int(value) for _, value in found] == list(range(len(found)))
    return tuple(re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name, _ in found)


RULES: list[tuple[str, str, tuple[str, ...], tuple[Any, ...]]] = [
    (
        "assign_targets.h",
        "AssignmentRule",
        ASSIGNMENT_RULES["improved"]._fields[:-2],  # the last two make levels
        matching_switches(ASSIGNMENT_RULES["improved"]),
    ),
    ("fcos_loss.h", "LossRule", LOSS_RULES["improved"]._fields, LOSS_RULES["improved"]),
    (
        "postprocess.h",
        "PostprocessRule",
        POSTPROCESS_RULES["improved"]._fields,
        POSTPROCESS_RULES["improved"]._replace(max_detections_per_class=INT64_MAX),
    ),
]


@pytest.mark.parametrize("name, struct, names, improved", RULES)
def test_fields_and_defaults(
    name: str, struct: str, names: tuple[str, ...], improved: tuple[Any, ...]
) -> None:
    declared = fields(name, struct)
    assert tuple(field.name for field in declared) == names
    for field, expected in zip(declared, improved, strict=True):
        plain = {"true": True, "false": False, "INT64_MAX": INT64_MAX}.get(field.value)
        if isinstance(expected, str):
            enum, enumerator = field.value.split("::")
            assert enum == field.type
            value: Any = re.sub(r"(?<!^)(?=[A-Z])", "_", enumerator[1:]).lower()
        else:
            value = float(field.value) if plain is None else plain
        assert value == expected, field


@pytest.mark.parametrize(
    "enum, name",
    [
        ("IouKind", "kind"),
        ("BoxFormat", "box_format"),
        ("CenterRegion", "center_region"),
        ("AreaRule", "area_rule"),
        ("BoxWeight", "box_weight"),
        ("LossNormalizer", "normalizer"),
        ("Activation", "activation"),
        ("ThresholdOn", "threshold_on"),
        ("RankBy", "rank_by"),
        ("ScoreKind", "score"),
        ("ClipTime", "clip"),
    ],
)
def test_enumerators_are_the_words_of_python(enum: str, name: str) -> None:
    assert words(enum) == _constants.WORDS[name]
