"""Face tracks <-> `.pt` files: one model, one writer, one validating reader."""

from unmask.data.pt_file.model import (
    SUFFIX,
    ProcessedVideo,
    Summary,
    coverage,
    track_windows,
    window_faces,
)
from unmask.data.pt_file.reader import read
from unmask.data.pt_file.writer import Writer, write

__all__ = [
    "SUFFIX",
    "ProcessedVideo",
    "Summary",
    "Writer",
    "coverage",
    "read",
    "track_windows",
    "window_faces",
    "write",
]
