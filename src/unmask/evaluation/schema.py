"""The JSON schema of `report.json`, from the types that it is made of."""

from typing import Any

from unmask.documents import json_schema
from unmask.evaluation.report import Report


def report_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    return json_schema(Report, "unmask evaluation report")
