"""Parts: judge one, look for some, show one, review one."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile

from common.data.names import normal
from common.errors import InputError
from common.line.service.entries import PARTS, entry_json
from common.line.service.intake import checked_part, upload_name
from common.line.service.pictures import image_type, overlay_png
from common.line.service.routes.work import Missing, Work
from common.line.service.service import Service

_FIELDS: Final = 4
_FIELD_BYTES: Final = 4096
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


def part_routes(service: Service, work: Work) -> APIRouter:
    """Make the operations on parts.

    Parameters
    ----------
    service : Service
    work : Work
    """
    router = APIRouter(tags=["parts"])

    def found(id: int) -> Any:
        try:
            return service.journal.entry(id)
        except InputError as error:
            raise Missing(str(error)) from None

    @router.post(PARTS, openapi_extra=_UPLOAD)
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
                entry = await work.judge(
                    lambda: service.judge_upload(content, name, category, part)
                )
        return JSONResponse(entry_json(entry))

    @router.get(PARTS)
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
        entries = await work.ask(
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

    @router.get(f"{PARTS}/{{id}}")
    async def one_part(id: int) -> JSONResponse:
        """One part, with all of its reviews."""
        entry = await work.ask(lambda: found(id))
        reviews = await work.ask(lambda: service.journal.reviews(id))
        return JSONResponse({**entry_json(entry), "reviews": [vars(one) for one in reviews]})

    @router.get(f"{PARTS}/{{id}}/image")
    async def part_image(id: int) -> Response:
        """The image file as it came, if it was kept."""
        content = await work.ask(lambda: found(id) and service.journal.image(id))
        if content is None:
            raise Missing(f"the image of part {id} was not kept")
        return Response(content, media_type=image_type(content))

    @router.get(f"{PARTS}/{{id}}/overlay.png")
    async def part_overlay(id: int) -> Response:
        """Image and heat map, drawn from the kept image by the model that judged it."""
        await work.ask(lambda: found(id))
        with service.place():
            png = await work.judge(lambda: overlay_png(service, id))
        return Response(png, media_type="image/png")

    @router.post(f"{PARTS}/{{id}}/review")
    async def review_part(id: int, body: ReviewBody) -> JSONResponse:
        """Write down what a person says of a part."""
        await work.ask(lambda: found(id))
        review = await work.ask(lambda: service.review(id, body.verdict, body.by, body.note))
        return JSONResponse(vars(review))

    return router


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
