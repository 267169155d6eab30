"""The state of a service in Prometheus's text format."""

from unmask.serve.service import Service


def metrics(service: Service) -> str:
    """Gauges and counters, each with its help and type."""
    workers = service.supervisors
    lines: list[str] = []

    def add(name: str, kind: str, about: str, *values: tuple[str, float]) -> None:
        lines.extend((f"# HELP unmask_{name} {about}", f"# TYPE unmask_{name} {kind}"))
        lines.extend(f"unmask_{name}{label} {value:g}" for label, value in values)

    counts = [(f'{{status="{name}"}}', count) for name, count in service.store.counts().items()]
    add("jobs", "gauge", "Jobs that are kept.", *counts)
    add("disk_bytes", "gauge", "What jobs take of the disk.", ("", service.store.bytes()))
    add(
        "workers_ready", "gauge", "Workers with a model.", ("", sum(bool(w.model) for w in workers))
    )
    starts = sum(worker.starts for worker in workers)
    add("worker_starts_total", "counter", "Worker processes so far.", ("", starts))
    add(
        "job_seconds", "summary", "Time that jobs took.",
        ("_sum", sum(worker.seconds for worker in workers)),
        ("_count", sum(worker.jobs for worker in workers)),
    )  # fmt: skip
    return "\n".join(lines) + "\n"
