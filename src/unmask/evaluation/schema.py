"""The JSON schema of `report.json`, from the types that it is made of."""

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from unmask.evaluation.report import Report

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def report_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "title": "unmask evaluation report", **_schema(Report)}


def _schema(kind: Any) -> dict[str, Any]:
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        return {
            "type": "object",
            "properties": {name: _schema(hints[name]) for name in names},
            "required": names,
            "additionalProperties": False,
        }
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return {"anyOf": [_schema(part) for part in inner]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(inner[1])}
    assert origin is tuple, kind
    if inner[-1] is ...:
        return {"type": "array", "items": _schema(inner[0])}
    parts = [_schema(part) for part in inner]
    return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
