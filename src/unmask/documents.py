"""The boundary: JSON, JSON lines and CSV from outside -> checked values of declared types.

A type is a frozen dataclass (or a list, dict or tuple of them). Bounds stand in its annotations
(`annotated_types`), and `__pydantic_config__ = STRICT` forbids unknown fields. Whatever is wrong
is one error that names the file, the field, and what was expected there.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unmask.errors import FileError, UsageError

if TYPE_CHECKING:
    from pydantic import ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")
# For documents of our own: a field that we do not know is a mistake. Tables of corpora may have
# more columns than we read.
STRICT: "ConfigDict" = {"extra": "forbid", "allow_inf_nan": False}


def parse(kind: type[T], text: str | bytes, source: str | Path, error: type[FileError]) -> T:
    """JSON text -> a value of a type.

    Args:
        kind: the type.
        text: the document.
        source: what the error names.
        error: its class.

    Raises:
        error: the text is no JSON, or not of this type.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as wrong:
        raise error(source, _said(wrong)) from wrong
    except UsageError as wrong:  # of a type that checks more than its fields
        raise error(source, str(wrong)) from wrong
    except RecursionError as wrong:
        raise error(source, "is nested too deeply") from wrong


def check(kind: type[T], values: object) -> T:
    """Plain values (for a dataclass a dict of its fields) -> a value of a type.

    Raises:
        UsageError: they are not of this type.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as wrong:
        raise UsageError(_said(wrong)) from wrong


def read_json(kind: type[T], path: str | Path, error: type[FileError]) -> T:
    """A JSON file -> a value of a type.

    Raises:
        error: it cannot be read, is no JSON, or not of this type.
    """
    return parse(kind, _text(path, error), path, error)


def read_jsonl(kind: type[T], path: str | Path, error: type[FileError]) -> list[T]:
    """A file of JSON lines -> values of a type; empty lines are passed over.

    Raises:
        error: it cannot be read, or a line is no JSON or not of this type.
    """
    rows = []
    for number, line in enumerate(_text(path, error).splitlines(), 1):
        if line.strip():
            try:
                rows.append(parse(kind, line, path, error))
            except FileError as wrong:
                raise error(path, f"line {number}: {wrong.cause}") from wrong
    return rows


def read_csv(kind: type[T], path: str | Path, error: type[FileError]) -> list[T]:
    """A CSV file with a header -> values of a type; an empty cell counts as absent.

    Raises:
        error: it cannot be read, or a row is not of this type.
    """
    from pydantic import ValidationError

    rows, adapter = [], _adapter(kind)
    for number, row in _cells(path, error):
        try:
            rows.append(adapter.validate_strings(row))
        except ValidationError as wrong:
            raise error(path, f"line {number}: {_said(wrong)}") from wrong
    return rows


def to_json(value: object, indent: int | None = 2) -> str:
    """A dataclass as JSON text, for people (`indent`) or on one line (None), ended by a newline."""
    return json.dumps(asdict(value), indent=indent, default=str) + "\n"  # type: ignore[call-overload]


def json_schema(kind: type[object], title: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a type."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    schema = _adapter(kind).json_schema(mode="serialization")
    return {"$schema": draft, **schema, "title": title}


_ADAPTERS: dict[object, Any] = {}  # made once a type, which takes milliseconds


def _adapter(kind: type[T]) -> "TypeAdapter[T]":
    from pydantic import TypeAdapter  # late: the command's help must not wait for it

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    adapter: TypeAdapter[T] = _ADAPTERS[kind]
    return adapter


def _text(path: str | Path, error: type[FileError]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise error(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as wrong:
        raise error(path, f"cannot be read: {wrong}") from wrong


def _cells(path: str | Path, error: type[FileError]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column), the empty ones left out."""
    lines = csv.DictReader(_text(path, error).splitlines())
    try:
        for row in lines:
            yield lines.line_num, {k: v for k, v in row.items() if k and isinstance(v, str) and v}
    except csv.Error as wrong:
        raise error(path, f"line {lines.line_num}: {wrong}") from wrong


def _said(error: "ValidationError") -> str:
    """The first thing that is wrong, and how many more there are."""
    first, *more = sorted(error.errors(include_url=False), key=lambda e: e["loc"] != ("format",))
    place = ".".join(str(part) for part in first["loc"])
    have = repr(first["input"])
    have = "" if first["type"] in ("missing", "json_invalid") else f", not {have[:60]}"
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    also = f" (and {len(more)} more)" if more else ""
    return f"{place + ': ' if place else ''}{said}{have}{also}"
