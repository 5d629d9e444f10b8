"""Every failure is answered with one sentence: `{"error": ...}`."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from common.errors import FedPatchCoreError, InputError, reason
from common.line.service.bounds import NotNow, TooLarge
from common.line.service.pictures import NoPicture
from common.line.service.routes.work import Missing
from common.line.service.service import Service


def answer_failures(app: FastAPI, service: Service) -> None:
    """Let an application answer its failures so.

    Parameters
    ----------
    app : FastAPI
    service : Service
        Counts them.
    """

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
