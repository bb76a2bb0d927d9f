"""Data sets whose files are damaged: read, or refused in one line that names a file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fcos.commands.data import describe
from fcos.data.annotated import AnnotatedImages
from fcos.data.forms import find_parts
from fcos.errors import UserError

from .forms_by_hand import FORMS
from .test_forms import BY_TOOLS, EXPORTED

TEXT = {".json", ".xml", ".txt", ".yaml", ".odgt", ".names"}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "no text": lambda content: content[:2] + b"\xff\x00" + content[2:],
    "no numbers": lambda content: re.sub(rb"\d+(\.\d+)?", b"nan", content),
    "negative": lambda content: re.sub(rb"\d+(\.\d+)?", rb"-\g<0>", content),
    "huge": lambda content: re.sub(rb"\d+(\.\d+)?", b"9" * 400, content),
    "null": lambda content: re.sub(rb'"[^"]*"(?!:)', b"null", content),
    "doubled": lambda content: content + content,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("form", [*FORMS, *BY_TOOLS])
def test_no_damage_ends_otherwise(tmp_path: Path, form: str, damage: str) -> None:
    root = tmp_path / form
    if form in FORMS:
        FORMS[form](root)
    else:
        shutil.copytree(EXPORTED / form, root)
    files = [path for path in sorted(root.rglob("*")) if path.suffix in TEXT]
    assert files
    for file in files:
        content = file.read_bytes()
        file.write_bytes(DAMAGES[damage](content))
        try:
            for read in find_parts(root).values():
                list(describe(AnnotatedImages(read())))
        except (UserError, FileNotFoundError) as error:
            message = str(error)
            assert str(root) in message or "image not found" in message
            assert "\n" not in message and len(message) < len(str(root)) * 3 + 600
        file.write_bytes(content)
