"""Workers on the machines of a Ray cluster.

Ray puts a process on some machine and says when it, or the machine, is lost. In that process a
Worker does the items, so time, memory and crashes are watched there just as they are here.
"""

import logging
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from unmask import __version__
from unmask.engine.run import Engine
from unmask.engine.worker import TRIES, Answer, Worker, gone, sent
from unmask.errors import UsageError

try:
    import ray
    from ray.exceptions import RayError
except ImportError as error:
    raise UsageError("--engine ray takes Ray: pip install 'unmask[ray]'") from error

log = logging.getLogger("unmask")
_STORE = 80 * 2**20  # bytes for objects in flight: ours are paths and small results


class Host:
    """The process that Ray starts; it holds a worker and lets it do what it is sent.

    Args:
        version: of unmask that asks.
        path: where it finds its modules.
        threads, memory: see Worker.
    """

    def __init__(self, version: str, path: list[str], threads: int, memory: int | None) -> None:
        if version != __version__:
            raise RuntimeError(f"a machine of the cluster has unmask {__version__}, not {version}")
        sys.path += [folder for folder in path if folder not in sys.path]
        # Else the worker would import the script of this process, and Ray with it.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._worker = Worker(threads, memory)

    def work(self, function: bytes, item: bytes, timeout: float | None) -> bytes:
        """See Worker.work."""
        return self._worker.work(function, item, timeout)


class RemoteWorker:
    """A worker somewhere in the cluster; where it is lost, another takes its place.

    Args:
        start: makes a Host there.
    """

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start, self._closed = start, False
        self._host = start()

    def do(self, function: Callable[[Any], Any], item: Any, timeout: float | None) -> Answer[Any]:
        """See Worker.do; once more elsewhere if the machine or its process is lost."""

        def work(function: bytes, item: bytes) -> bytes:
            for _ in range(TRIES):
                try:
                    done: bytes = ray.get(self._host.work.remote(function, item, timeout))
                    return done
                except RayError as error:
                    if self._closed:
                        break
                    log.debug("a worker of the cluster was lost: %s", error)
                    self._host = self._start()
            return pickle.dumps(gone(self._closed))

        return sent(work, function, item)

    def kill(self) -> None:
        """End it at once."""
        ray.kill(self._host)

    def close(self) -> None:
        """Nothing takes its place any more."""
        self._closed = True

    def join(self) -> None:
        """Give its place in the cluster back."""
        ray.kill(self._host)


class Cluster:
    """A Ray cluster, or one that is started here; who is connected already stays so.

    Raises:
        UsageError: there is none at the address.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._connected = engine, not ray.is_initialized()
        if self._connected:
            self._connect()
        total = int(ray.cluster_resources().get("CPU", 1))
        self.count = engine.workers or total
        if self.count > total:
            log.warning("the cluster has %d cores for %d workers", total, self.count)

    def _connect(self) -> None:
        engine = self._engine
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
        own: dict[str, Any] = {
            "num_cpus": engine.workers,
            "object_store_memory": _STORE,
            "include_dashboard": engine.dashboard,
        }
        try:
            context = ray.init(
                engine.address, log_to_driver=False, logging_level=logging.ERROR,
                **(own if engine.address == "local" else {}),
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            said = str(error).splitlines()[0]
            raise UsageError(f"no Ray cluster at {engine.address!r}: {said}") from error
        if engine.dashboard:
            url = getattr(context, "dashboard_url", "")
            log.info("dashboard: %s", f"http://{url}" if url else "the cluster has none")

    def start(self, count: int) -> Sequence[RemoteWorker]:
        """Workers that share the cores; each gets the same number on one machine."""
        nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        cores = threads = max(1, min([sum(nodes) // count, *filter(None, nodes)]))
        if self._connected and self._engine.address == "local":  # its "cores" are the workers
            threads = max(1, (os.cpu_count() or 1) // count)
        host, memory = ray.remote(num_cpus=cores)(Host), self._engine.memory
        start = partial(host.remote, __version__, sys.path, threads, memory)
        return [RemoteWorker(start) for _ in range(count)]

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._connected:
            ray.shutdown()
