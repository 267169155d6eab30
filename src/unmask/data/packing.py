"""`.pt` files -> shards, while a tree is being preprocessed."""

import os
import tarfile
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from unmask.atomic import replacing, write_text
from unmask.data import pt_file, shards
from unmask.data.entry import Entry
from unmask.errors import CorpusError
from unmask.face_spec import FaceSpec


class Packer:
    """Packs the `.pt` files of a tree into shards of one split each, and removes them.

    A shard holds the next files in the order of `outputs`, whatever the order in which they are
    finished: the shards of a run that was killed and of one that was not are the same. The tar
    appears whole, then its index, and then the files go; what a killed run has left between two
    of these steps is made good.

    Args:
        root: the tree.
        outputs: all `.pt` files that this run makes or finds, in order.
        size: bytes of files after which a shard is closed.
        spec: how they are made.
        part: in the names of shards, where several runs write into one tree; else empty.

    Raises:
        CorpusError: a file is not `<split>/<category>/<name>.pt`, or the tree has shards that
            were made with other settings.
    """

    def __init__(
        self, root: Path, outputs: Sequence[Path], size: int, spec: FaceSpec, part: str = ""
    ) -> None:
        self._root, self._size, self._part = root, size, part
        self._settled: set[Path] = set()
        self._waiting: dict[str, deque[Path]] = {}
        self._ready: dict[str, list[Path]] = {}
        self._held = Counter[str]()  # bytes of what is ready
        packed = shards.members(root)
        for name, member in packed.items():
            if member.entry.spec != spec:
                cause = f"holds {name}, made with other settings: name another folder"
                raise CorpusError(member.shard, cause)
        for out in outputs:
            parts = out.relative_to(root).parts
            if len(parts) != 3:
                raise CorpusError(out, "shards take a tree of <split>/<category>/<video>")
            if "/".join(parts) in packed:
                out.unlink(missing_ok=True)
            else:
                self._waiting.setdefault(parts[0], deque()).append(out)

    def settle(self, out: Path) -> None:
        """Take notice of a file that is finished, or will not come."""
        self._settled.add(out)
        split = out.relative_to(self._root).parts[0]
        waiting = self._waiting.get(split, deque())
        while waiting and waiting[0] in self._settled:
            following = waiting.popleft()
            self._settled.remove(following)
            if not following.is_file():
                continue
            self._ready.setdefault(split, []).append(following)
            self._held[split] += following.stat().st_size
            if self._held[split] >= self._size:
                self._pack(split)

    def finish(self) -> None:
        """Pack what is left."""
        for split in list(self._ready):
            self._pack(split)

    def _pack(self, split: str) -> None:
        outs = self._ready.pop(split)
        del self._held[split]
        stem, number = f"{split}{self._part}-", 0
        while (index := self._root / f"{stem}{number:06d}{shards.INDEX}").exists():
            number += 1
        tar = index.with_suffix("")
        names = {out: out.relative_to(self._root).as_posix() for out in outs}
        with replacing(tar) as temporary:
            with tarfile.open(temporary, "w") as archive:
                for out in outs:
                    info = tarfile.TarInfo(shards.name_in_shard(names[out]))
                    info.size = out.stat().st_size
                    with out.open("rb") as file:
                        archive.addfile(info, file)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        with tarfile.open(tar) as archive:
            places = {info.name: (info.offset_data, info.size) for info in archive}
        files = {
            name: (*places[shards.name_in_shard(name)], Entry.of(pt_file.read(out)))
            for out, name in names.items()
        }
        write_text(index, shards.index_text(tar.stat().st_size, files))
        shards.forget()
        for out in outs:
            out.unlink()
