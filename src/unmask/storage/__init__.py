"""Files anywhere that fsspec opens: found, fetched into a bounded cache, published whole.

Knows nothing of video. A place is a path, or an address with a scheme (`s3://bucket/a.mp4`).
"""

from unmask.storage.address import Place, allow, as_path, is_remote, join, name_of, shown
from unmask.storage.cache import parse_size
from unmask.storage.listing import exists, files_in, is_folder, is_pattern, matching, state
from unmask.storage.transfer import Mirror, fetched, published, read_range

__all__ = [
    "Mirror",
    "Place",
    "allow",
    "as_path",
    "exists",
    "fetched",
    "files_in",
    "is_folder",
    "is_pattern",
    "is_remote",
    "join",
    "matching",
    "name_of",
    "parse_size",
    "published",
    "read_range",
    "shown",
    "state",
]
