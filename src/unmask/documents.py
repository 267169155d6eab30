"""The boundary: JSON, JSON lines and CSV from outside -> checked values of declared types.

A type is a frozen dataclass (or a list, dict or tuple of them). Bounds stand in its annotations
(`annotated_types`), and `__pydantic_config__ = STRICT` forbids unknown fields. Whatever is wrong
is one error that names the file, the field, and what was expected there.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from unmask.errors import FileError, UsageError

if TYPE_CHECKING:
    from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
    from pydantic_core import CoreSchema

T = TypeVar("T")
# For documents of our own: a field that we do not know is a mistake. Tables of corpora may have
# more columns than we read.
STRICT: "ConfigDict" = {"extra": "forbid", "allow_inf_nan": False}
FOREIGN: "ConfigDict" = {"allow_inf_nan": False}


@dataclass(frozen=True)
class By:
    """In `Annotated`: a function from what a document has to what is then checked.

    It raises a ValueError that says what should be there.
    """

    function: Callable[[Any], object]

    def __get_pydantic_core_schema__(
        self, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.function, handler(source))


def _label(value: object) -> int:
    label = {"0": 0, "0.0": 0, "real": 0, "1": 1, "1.0": 1, "fake": 1}.get(str(value).lower())
    if label is None:
        raise ValueError("should be real (0) or fake (1)")
    return label


Label = Annotated[int, By(_label)]  # 0 or 1 for what a table calls 0, 1, real or fake


def parse(
    kind: type[T],
    text: str | bytes,
    source: str | Path,
    error: type[FileError],
    strict: bool = True,
) -> T:
    """JSON text -> a value of a type.

    Args:
        kind: the type.
        text: the document.
        source: what the error names.
        error: its class.
        strict: refuse numbers that are written as strings, and the like.

    Raises:
        error: the text is no JSON, or not of this type.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(text, strict=strict)
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


def read_json(kind: type[T], path: str | Path, error: type[FileError], strict: bool = True) -> T:
    """A JSON file -> a value of a type (see parse).

    Raises:
        error: it cannot be read, is no JSON, or not of this type.
    """
    return parse(kind, _text(path, error), path, error, strict)


def read_jsonl(kind: type[T], path: str | Path, error: type[FileError]) -> list[T]:
    """A file of JSON lines -> values of a type; empty lines are passed over.

    Raises:
        error: it cannot be read, or a line is no JSON or not of this type.
    """
    rows = []
    for number, line in enumerate(_text(path, error).split("\n"), 1):
        if line.strip():
            try:
                rows.append(parse(kind, line, path, error))
            except FileError as wrong:
                raise error(path, f"line {number}: {wrong.cause}") from wrong
    return rows


def read_csv(kind: type[T], path: str | Path, error: type[FileError]) -> list[T]:
    """A CSV file with a header -> dataclasses with a field a column.

    An empty cell counts as absent, or as None where the column has to be there. What has no name
    in the header is the column "unnamed".

    Raises:
        error: it cannot be read, lacks a column whose field has no default, or a row is not of
            this type.
    """
    from pydantic import ValidationError

    rows, adapter = [], _adapter(kind)
    needed = {field.name for field in fields(kind) if field.default is MISSING}  # type: ignore[arg-type]
    for number, row in _cells(path, needed, error):
        try:
            rows.append(adapter.validate_python(row))
        except ValidationError as wrong:
            raise error(path, f"line {number}: {_said(wrong)}") from wrong
    return rows


def to_json(value: object, indent: int | None = 2) -> str:
    """A dataclass as JSON text, for people (`indent`) or on one line (None), ended by a newline."""
    return json.dumps(asdict(value), indent=indent, default=str) + "\n"  # type: ignore[call-overload]


def json_schema(kind: type[object], title: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a type as it is written: all fields, and no others."""
    schema = _adapter(kind).json_schema(mode="serialization")
    for part in (schema, *schema.get("$defs", {}).values()):
        if "properties" in part:
            part |= {"required": list(part["properties"]), "additionalProperties": False}
    draft = "https://json-schema.org/draft/2020-12/schema"
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


def _cells(
    path: str | Path, needed: set[str], error: type[FileError]
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """(line, cells by column)."""
    lines = csv.reader(io.StringIO(_text(path, error), newline=""))
    try:
        header = [name or "unnamed" for name in next(lines, [])]
        if missing := sorted(needed - set(header)):
            raise error(path, f"has no column {' and no column '.join(missing)}")
        for cells in filter(None, lines):
            row = dict.fromkeys(needed) | dict(zip(header, cells, strict=False))
            yield lines.line_num, {k: v or None for k, v in row.items() if v or k in needed}
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
