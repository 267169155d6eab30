"""Write docs/report.schema.json from the types that the report is made of."""

import json
from pathlib import Path

from unmask.evaluation.schema import report_schema

if __name__ == "__main__":
    path = Path(__file__).parent.parent / "docs" / "report.schema.json"
    path.write_text(json.dumps(report_schema(), indent=1) + "\n")
