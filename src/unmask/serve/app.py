"""The application over HTTP: the API, server-sent events, and one page."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    StreamingResponse,
)

from unmask import __version__, documents
from unmask.errors import FileError
from unmask.serve.export import as_csv, as_json
from unmask.serve.jobs import Job, NewJob, as_event
from unmask.serve.metrics import metrics
from unmask.serve.reporting import PAGE, RESULT, VIDEO
from unmask.serve.security import COOKIE, Guard, cookie_of, key_of, report_policy
from unmask.serve.service import QueueFullError, Service
from unmask.serve.sniffing import HEAD, media_type
from unmask.serve.uploads import FIELD, Incoming, clean_name, receive

log = logging.getLogger("unmask")
_STATIC = FilePath(__file__).parent / "static"
_EVERY = 0.1  # seconds between two looks at a job
_ALIVE = 15.0  # seconds after which a stream of events says that it lives
_MAX_JSON = 65536  # bytes
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A form with one or several videos; or a video itself, as any other type; "
        "or the path of a file on the server (--allow-path).",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                    "required": [FIELD],
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"path": {"type": "string"}},
                    "required": ["path"],
                    "additionalProperties": False,
                }
            },
        },
    }
}
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


@dataclass(frozen=True)
class Created:
    """The id of a new job; of several the first, and all of them."""

    id: str
    ids: list[str]


@dataclass(frozen=True)
class Jobs:
    """A page of the history, and how many jobs there are in all."""

    jobs: list[Job]
    total: int


@dataclass(frozen=True)
class About:
    """Who answers.

    Attributes:
        version: of unmask.
        model: its name; None while none is loaded.
        max_upload: bytes of a video.
        local_paths: whether files on the server may be named.
        keep: seconds for which a finished job is kept.
    """

    version: str
    model: str | None
    max_upload: int
    local_paths: bool
    keep: float


@dataclass(frozen=True)
class LocalFile:
    """A file on the server."""

    __pydantic_config__ = documents.STRICT
    path: str


def _says(**answers: str) -> dict[int | str, dict[str, Any]]:
    """Of a route: what else it answers, as _404="...", for the API's description."""
    return {int(status[1:]): {"description": why} for status, why in answers.items()}


_JOB = _says(_404="There is no such job.")
_FINISHED = _JOB | _says(_409="The job has no result, or none yet; the detail says why.")


def make_app(service: Service) -> FastAPI:
    """The application around a service, which it starts and stops."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="unmask",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,  # these would load scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(Guard, settings=service.settings)
    app.add_exception_handler(sqlite3.Error, _unavailable)
    _add_jobs(app, service)
    _add_results(app, service)
    _add_state(app, service)
    _add_page(app)
    return app


def _unavailable(request: Request, error: Exception) -> JSONResponse:
    """The table of jobs cannot be used: a full disk, say."""
    log.error("the table of jobs: %s", error)
    return JSONResponse({"detail": "not now: the table of jobs cannot be used"}, 503)


def _add_jobs(app: FastAPI, service: Service) -> None:
    @app.post(
        "/api/jobs",
        status_code=202,
        openapi_extra=_BODY,
        responses=_says(
            _400="The body is empty, no JSON, or cut short.",
            _403="The path is not below a folder that is allowed.",
            _408="The body came too slowly.",
            _413="The body is too large.",
            _415="The body is no video.",
            _429="Too many jobs wait, or too many requests; see Retry-After.",
            _507="No space is left.",
        ),
    )
    async def submit(
        request: Request,
        name: Annotated[str, Query(max_length=1000, description="What to call it.")] = "video",
    ) -> Created:
        """Hand in videos: all of them are queued, or none."""
        incoming = Incoming(request.receive)
        try:
            with ExitStack() as places:
                whole = Request(request.scope, incoming)
                jobs = await _receive(whole, service, name, places)
                service.store.add(jobs)
        except QueueFullError:
            await incoming.drain()
            raise HTTPException(429, "too many jobs wait", {"Retry-After": "30"}) from None
        except HTTPException:
            await incoming.drain()
            raise
        ids = [job.id for job in jobs]
        return Created(ids[0], ids)

    @app.get("/api/jobs")
    def history(
        search: Annotated[str, Query(max_length=200, description="Part of a name.")] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    ) -> Jobs:
        """All jobs: what runs, what waits, and what has ended, the newest first."""
        return Jobs(*service.store.find(search, limit, offset))

    @app.get("/api/jobs/{job}", responses=_JOB)
    def state(job: JobId) -> Job:
        """One job."""
        return _find(service, job)

    @app.delete("/api/jobs/{job}", status_code=204, responses=_JOB)
    def delete(job: JobId) -> None:
        """Forget a job and remove its files; one that runs is stopped."""
        if not service.delete(job):
            raise HTTPException(404, "no such job")

    @app.get(
        "/api/jobs/{job}/events",
        response_class=StreamingResponse,
        responses=_JOB | {200: {"content": {"text/event-stream": {}}}},
    )
    async def events(job: JobId) -> StreamingResponse:
        """Events `job`, each with the job as JSON, whenever it changes, until it has ended."""
        found = _find(service, job)
        return StreamingResponse(_events(service, found), media_type="text/event-stream")


def _add_results(app: FastAPI, service: Service) -> None:
    @app.get(
        "/api/jobs/{job}/result",
        response_class=Response,
        responses=_FINISHED | {200: {"content": {"application/json": {}}}},
    )
    def result(job: JobId) -> Response:
        """What `unmask predict --format json` prints."""
        return Response(_read(service, job, RESULT), media_type="application/json")

    @app.get("/api/jobs/{job}/report", response_class=HTMLResponse, responses=_FINISHED)
    def report(job: JobId) -> HTMLResponse:
        """The report as a page."""
        key = key_of(service.settings.token, job)
        html = _read(service, job, PAGE).replace(VIDEO, f"video?key={key}")
        return HTMLResponse(html, headers={"Content-Security-Policy": report_policy(html)})

    @app.get(
        "/api/jobs/{job}/video",
        response_class=FileResponse,
        responses=_JOB
        | _says(_206="The range that was asked for.", _416="There is no such range."),
    )
    def video(job: JobId) -> FileResponse:
        """The video as it was handed in, until the job is deleted; gone if it has failed."""
        path = service.video(job)
        if path is None:
            raise HTTPException(404, "no such job, or its video is gone")
        with path.open("rb") as file:
            kind = media_type(file.read(HEAD)) or "application/octet-stream"
        # The report lies in a sandbox, which to a browser is another site.
        headers = {"Cross-Origin-Resource-Policy": "cross-origin"}
        return FileResponse(path, media_type=kind, headers=headers)

    @app.get(
        "/api/export",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/json": {}, "text/csv": {}}}},
    )
    def export(
        search: Annotated[str, Query(max_length=200, description="Part of a name.")] = "",
        form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    ) -> StreamingResponse:
        """The whole history as a file: a table, or JSON with every result."""
        jobs, _ = service.store.find(search, -1)
        headers = {"Content-Disposition": f'attachment; filename="unmask.{form}"'}
        if form == "csv":
            return StreamingResponse(as_csv(jobs), headers=headers, media_type="text/csv")
        results = (service.folder(job.id) / RESULT for job in jobs)
        lines = as_json(jobs, results)
        return StreamingResponse(lines, headers=headers, media_type="application/json")


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        """Whether the server answers."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse, responses=_says(_503="Not yet."))
    def readyz() -> PlainTextResponse:
        """Whether a worker has loaded the model."""
        ready = any(supervisor.model for supervisor in service.supervisors)
        return PlainTextResponse("ready\n" if ready else "loading\n", 200 if ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    def state_in_numbers() -> PlainTextResponse:
        """Counters and gauges as Prometheus reads them."""
        return PlainTextResponse(metrics(service), media_type="text/plain; version=0.0.4")

    @app.get("/api/about")
    def about() -> About:
        """The version, the model, and how large a video may be."""
        models = [supervisor.model for supervisor in service.supervisors if supervisor.model]
        settings = service.settings
        model, paths = next(iter(models), None), bool(settings.allow_path)
        return About(__version__, model, settings.max_upload, paths, settings.keep)

    @app.post("/api/session", status_code=204)
    def session(request: Request, response: Response) -> None:
        """Let a browser that knows the token keep a cookie in its place."""
        if service.settings.token is not None:
            response.set_cookie(
                COOKIE,
                cookie_of(service.settings.token),
                secure=request.url.scheme == "https",
                httponly=True,
                samesite="strict",
            )


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    @app.get("/app.js", include_in_schema=False)
    def script() -> FileResponse:
        return FileResponse(_STATIC / "app.js")

    @app.get("/style.css", include_in_schema=False)
    def style() -> FileResponse:
        return FileResponse(_STATIC / "style.css")


def _find(service: Service, job: str) -> Job:
    found = service.store.get(job)
    if found is None:
        raise HTTPException(404, "no such job")
    return found


def _read(service: Service, job: str, file: str) -> str:
    found = _find(service, job)
    if found.status != "done":
        raise HTTPException(409, found.reason or f"the job is {found.status}")
    try:
        return (service.folder(job) / file).read_text(encoding="utf-8")
    except OSError:
        raise HTTPException(404, "its files are gone") from None


async def _events(service: Service, job: Job) -> AsyncIterator[str]:
    yield as_event(job)
    quiet = 0.0
    while job.finished is None and not service.stopping.is_set():
        await asyncio.sleep(_EVERY)
        found = service.store.get(job.id)
        if found is None:
            yield "event: deleted\ndata: {}\n\n"
            return
        quiet += _EVERY
        if found != job or quiet >= _ALIVE:
            yield as_event(found)
            quiet = 0.0
        job = found


async def _receive(
    request: Request, service: Service, name: str, places: ExitStack
) -> list[NewJob]:
    """The jobs of a request, each with its folder; what fails in `places` leaves none."""

    def admit() -> str:
        return places.enter_context(service.admitted())

    if not request.headers.get("content-type", "").startswith("application/json"):
        return await receive(request, service, name, admit)
    source = service.allowed(await _path(request))
    if source is None:  # who asks does not learn what exists elsewhere
        raise HTTPException(403, "no file below a folder that is allowed (--allow-path)")
    job = admit()
    await asyncio.to_thread(service.folder(job).mkdir, 0o700)
    return [NewJob(job, clean_name(source.name), str(source))]


async def _path(request: Request) -> str:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_JSON:
            raise HTTPException(413, "a path is not as long as that")
    try:
        return documents.parse(LocalFile, bytes(body), "body", FileError).path
    except FileError as error:
        raise HTTPException(400, str(error)) from None
