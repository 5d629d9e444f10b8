"""The HTTP interface; `/openapi.json` describes it for programs, `/docs` for people."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from common.line.service.operations import operations_page
from common.line.service.routes.failures import answer_failures
from common.line.service.routes.models import model_routes
from common.line.service.routes.parts import part_routes
from common.line.service.routes.state import state_routes
from common.line.service.routes.work import Work
from common.line.service.service import Service


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
    answer_failures(app, service)
    work = Work(service)
    app.include_router(part_routes(service, work))
    app.include_router(state_routes(service))
    app.include_router(model_routes(service, work))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The operations on one page without scripts."""
        return HTMLResponse(operations_page(app.openapi()))

    return app
