"""The YAML that data.yaml files have."""

from __future__ import annotations

from pathlib import Path

import pytest
from fcos.data.yaml_subset import Value, read_yaml


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", {}),
        ("---\n# only this\n", {}),
        ("a: b\nc: 'd # e'  # f\n", {"a": "b", "c": "d # e"}),
        ("a: \"b \\\"c\\\"\"\nd: 'it''s'\n", {"a": 'b "c"', "d": "it's"}),
        ("a: http://b#c\n", {"a": "http://b#c"}),
        ("names: [a, 'b, c', \"d\"]\n", {"names": ["a", "b, c", "d"]}),
        ("names: [a,\n  b,  # second\n  c]\n", {"names": ["a", "b", "c"]}),
        ("names: []\n", {"names": []}),
        ("names: {0: a, 1: 'b c'}\n", {"names": {"0": "a", "1": "b c"}}),
        ("names:\n- a\n- b c\nnc: 2\n", {"names": ["a", "b c"], "nc": "2"}),
        ("names:\n  0: a\n  1: no  # not False\n", {"names": {"0": "a", "1": "no"}}),
        ("test:\ntrain: x\n", {"train": "x"}),
        ("a: b\ndownload: |\n  import x\n\n  y: z\nc: d\n", {"a": "b", "c": "d"}),
        ("a:\n  b: c\n  d:\n    e: f\n", {"a": {"b": "c", "d": ""}}),
        ("\ufeffa: b\r\nc: d\r\n", {"a": "b", "c": "d"}),
        ("'a b': c\n", {"a b": "c"}),
    ],
)
def test_content(tmp_path: Path, text: str, content: dict[str, Value]) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path) == content
