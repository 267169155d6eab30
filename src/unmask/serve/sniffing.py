"""What a video is, by its first bytes: neither its name nor its sender is believed."""

HEAD = 512  # bytes that tell
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_BEGINNINGS = {
    b"OggS": "video/ogg",
    b"FLV\x01": "video/x-flv",
    b"GIF8": "image/gif",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "video/x-ms-asf",
    b"\x06\x0e\x2b\x34": "application/mxf",
    b"\x00\x00\x01": "video/mpeg",
    b"\x00\x00\x00\x01": "application/octet-stream",  # H.264 or HEVC without a container
}


def media_type(head: bytes) -> str | None:
    """Of a file that begins so; None if no such file is a video that the reader opens.

    Args:
        head: the first HEAD bytes, or all if there are fewer.
    """
    if head[4:8] in _BOXES:
        return "video/mp4"  # QuickTime, too: browsers play it under this name
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "video/x-msvideo"
    if any(head[at : at + 1] == head[at + 188 + at :][:1] == b"\x47" for at in (0, 4)):
        return "video/mp2t"  # packets of 188 bytes, or of 192 whose first 4 are a time
    return next((kind for begin, kind in _BEGINNINGS.items() if head.startswith(begin)), None)
