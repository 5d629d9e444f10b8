"""The HTTP interface; `/openapi.json` describes it for programs, `/docs` for people."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from common.data.names import normal
from common.errors import FedPatchCoreError, InputError, reason
from common.line.models.versions import ModelVersions
from common.line.service.bounds import NotNow, TooLarge
from common.line.service.entries import API, entry_json
from common.line.service.gate import PARTS
from common.line.service.intake import checked_part, upload_name
from common.line.service.operations import operations_page
from common.line.service.pictures import NoPicture, image_type, overlay_png
from common.line.service.service import Service

Done = TypeVar("Done")
_FIELDS: Final = 4
_FIELD_BYTES: Final = 4096
_ONLY_READ: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_READERS: Final = 4
"""Threads that look into the journal."""
_UPLOAD: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "category": {"type": "string"},
                        "part": {"type": "string", "maxLength": 200},
                    },
                }
            }
        },
    }
}


class ReviewBody(BaseModel):
    """What a person says of a part."""

    model_config = ConfigDict(extra="forbid")
    verdict: Literal["good", "defect", "unsure"]
    by: str = Field(min_length=1, max_length=100)
    note: str = Field(default="", max_length=2000)


class SwitchBody(BaseModel):
    """Who lets another model judge, and why."""

    model_config = ConfigDict(extra="forbid")
    by: str = Field(min_length=1, max_length=100)
    why: str = Field(min_length=1, max_length=500)


class Missing(Exception):
    """There is no such thing; its text is the answer."""


def make_app(service: Service) -> FastAPI:
    """Put HTTP in front of a service.

    Parameters
    ----------
    service : Service

    Returns
    -------
    FastAPI
        Without any look at access, sizes and times: that is the `Gate`'s.
    """
    app = FastAPI(
        title="fedpatchcore line service",
        version=service.version,
        docs_url=None,  # FastAPI's own page loads scripts from the internet
        redoc_url=None,
    )
    writers = ThreadPoolExecutor(service.bounds.places, thread_name_prefix="part")
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
    _answer_errors(app, service)

    async def ask(work: Callable[[], Done]) -> Done:
        return await asyncio.get_running_loop().run_in_executor(readers, work)

    def found(id: int) -> Any:
        try:
            return service.journal.entry(id)
        except InputError as error:
            raise Missing(str(error)) from None

    @app.post(PARTS, openapi_extra=_UPLOAD, tags=["parts"])
    async def judge_part(request: Request) -> JSONResponse:
        """Judge a part; answered when the verdict is durable in the journal."""
        service.require_room()
        async with request.form(
            max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES
        ) as form:
            image, category, part = _fields(form)
            name = upload_name(image.filename)
            with service.place():
                content = await image.read()
                entry = await asyncio.get_running_loop().run_in_executor(
                    writers, lambda: service.judge_upload(content, name, category, part)
                )
        return JSONResponse(entry_json(entry))

    @app.get(PARTS, tags=["parts"])
    async def list_parts(
        since: str | None = None,
        until: str | None = None,
        part: str | None = None,
        category: str | None = None,
        anomalous: bool | None = None,
        reviewed: bool | None = None,
        after: int | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> JSONResponse:
        """Parts in the journal, the newest first; `after` is the last id of the page before."""
        entries = await ask(
            lambda: service.journal.parts(
                since=since,
                until=until,
                part=part,
                category=category,
                anomalous=anomalous,
                reviewed=reviewed,
                after=after,
                limit=limit,
            )
        )
        more = entries[-1].id if len(entries) == limit else None
        return JSONResponse({"parts": [entry_json(one) for one in entries], "after": more})

    @app.get(f"{PARTS}/{{id}}", tags=["parts"])
    async def one_part(id: int) -> JSONResponse:
        """One part, with all of its reviews."""
        entry = await ask(lambda: found(id))
        reviews = await ask(lambda: service.journal.reviews(id))
        return JSONResponse({**entry_json(entry), "reviews": [vars(one) for one in reviews]})

    @app.get(f"{PARTS}/{{id}}/image", tags=["parts"])
    async def part_image(id: int) -> Response:
        """The image file as it came, if it was kept."""
        content = await ask(lambda: found(id) and service.journal.image(id))
        if content is None:
            raise Missing(f"the image of part {id} was not kept")
        return Response(content, media_type=image_type(content))

    @app.get(f"{PARTS}/{{id}}/overlay.png", tags=["parts"])
    async def part_overlay(id: int) -> Response:
        """Image and heat map, drawn from the kept image by the model that judged it."""
        await ask(lambda: found(id))
        with service.place():
            png = await asyncio.get_running_loop().run_in_executor(
                writers, lambda: overlay_png(service, id)
            )
        return Response(png, media_type="image/png")

    @app.post(f"{PARTS}/{{id}}/review", tags=["parts"])
    async def review_part(id: int, body: ReviewBody) -> JSONResponse:
        """Write down what a person says of a part."""
        await ask(lambda: found(id))
        review = await ask(lambda: service.review(id, body.verdict, body.by, body.note))
        return JSONResponse(vars(review))

    @app.get(f"{API}/status", tags=["service"])
    async def status() -> JSONResponse:
        """What the service is doing."""
        return JSONResponse(service.status())

    @app.get(f"{API}/events", tags=["service"])
    async def events() -> StreamingResponse:
        """Server-sent events: `part`, `review`, `model`."""
        return StreamingResponse(service.events.listen(), media_type="text/event-stream")

    @app.get(f"{API}/models", tags=["models"])
    async def models() -> JSONResponse:
        """Versions of the station's model, the latest first."""
        versions = _versions(service)
        return JSONResponse({"models": [one.to_json() for one in await ask(versions.all)]})

    @app.post(f"{API}/models/{{name}}/activate", tags=["models"])
    async def activate(name: str, body: SwitchBody) -> JSONResponse:
        """Let another version judge; the service takes it over within seconds."""
        versions = _versions(service)
        try:
            version = await ask(lambda: versions.activate(name, by=body.by, why=body.why))
        except OSError as error:
            if error.errno not in _ONLY_READ:
                raise
            raise HTTPException(
                409,
                "this service may only read its station's models; switch at the station: "
                f"fedpatchcore models STATION.toml --activate {name}",
            ) from error
        return JSONResponse(version.to_json())

    # Under both names: probes ask at the root, programs below the interface's version.
    @app.get(f"{API}/health", tags=["service"])
    @app.get("/health", tags=["service"], include_in_schema=False)
    async def health() -> JSONResponse:
        """200 while parts are taken, 503 while the service ends."""
        word = "ending" if service.ending else "ok"
        return JSONResponse({"status": word}, 503 if service.ending else 200)

    @app.get(f"{API}/metrics", tags=["service"])
    @app.get("/metrics", tags=["service"], include_in_schema=False)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The operations on one page without scripts."""
        return HTMLResponse(operations_page(app.openapi()))

    return app


def _fields(form: FormData) -> tuple[UploadFile, str | None, str | None]:
    """Image, category and part of a form."""
    image, category, part = form.get("image"), form.get("category"), form.get("part")
    unknown = sorted(set(form) - {"image", "category", "part"})
    if not isinstance(image, UploadFile) or unknown or len(form.multi_items()) != len(form):
        raise InputError(
            "expected a form of the file `image` and the fields `category` and, if the line knows "
            "it, `part`, each once"
        )
    if isinstance(category, UploadFile) or isinstance(part, UploadFile):
        raise InputError("category and part: expected text, no file")
    return image, normal(category) if category else None, checked_part(part)


def _versions(service: Service) -> ModelVersions:
    versions = getattr(service.source, "versions", None)
    if not isinstance(versions, ModelVersions):
        raise Missing("this service was started with a model folder, which has no versions")
    return versions


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Answer every failure with one sentence: `{"error": ...}`."""

    def said(status: int, sentence: str, **headers: str) -> JSONResponse:
        names = {key.replace("_", "-"): value for key, value in headers.items()}
        return JSONResponse({"error": sentence}, status, names)

    @app.exception_handler(NotNow)
    async def not_now(request: Request, error: NotNow) -> JSONResponse:
        service.metrics.failed("busy")
        return said(503, str(error), retry_after=str(error.seconds))

    @app.exception_handler(InputError)
    async def unusable(request: Request, error: InputError) -> JSONResponse:
        service.metrics.failed("unreadable")
        return said(413 if isinstance(error, TooLarge) else 422, str(error))

    @app.exception_handler(FedPatchCoreError)
    async def failed(request: Request, error: FedPatchCoreError) -> JSONResponse:
        service.metrics.failed("internal")
        return said(500, str(error))

    @app.exception_handler(Missing)
    async def missing(request: Request, error: Missing) -> JSONResponse:
        return said(404, str(error))

    @app.exception_handler(NoPicture)
    async def no_picture(request: Request, error: NoPicture) -> JSONResponse:
        return said(404, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(one) for one in first["loc"][1:]) or "the request"
        return said(422, f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        service.metrics.failed("refused")
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        service.metrics.failed("internal")
        return said(500, f"internal error, {reason(error)}")
