"""Scores + labels -> metrics, pictures, reports. Sees scores only and never runs a model."""

from unmask.evaluation.measures import Difference, Interval, Measures, compare, delong, measure
from unmask.evaluation.metrics import Metrics, evaluate
from unmask.evaluation.report import Report, make_report, report_text, write_evaluation
from unmask.evaluation.scores import FrameScore, ScoredVideo, WindowScore, read_scores

__all__ = [
    "Difference",
    "FrameScore",
    "Interval",
    "Measures",
    "Metrics",
    "Report",
    "ScoredVideo",
    "WindowScore",
    "compare",
    "delong",
    "evaluate",
    "make_report",
    "measure",
    "read_scores",
    "report_text",
    "write_evaluation",
]
