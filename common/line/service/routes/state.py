"""How the service is: for operators, for probes, for Prometheus, for who wants to be told."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import Request

from common.line.service.entries import API, EVENTS, TICKETS
from common.line.service.service import Service

_MOST: int = 2**63 - 1
Place = Annotated[int | None, Query(ge=0, le=_MOST)]


def state_routes(service: Service) -> APIRouter:
    """Make the operations that tell how the service is.

    Parameters
    ----------
    service : Service
    """
    router = APIRouter(tags=["service"])

    @router.get(f"{API}/status")
    async def status() -> JSONResponse:
        """What the service is doing."""
        return JSONResponse(service.status())

    @router.post(TICKETS)
    async def ticket(request: Request) -> JSONResponse:
        """A ticket for one request of /events, for who cannot send a token with that: browsers."""
        own = service.tickets.issue(request.scope["state"]["role"])
        return JSONResponse({"ticket": own.text, "seconds": own.seconds})

    @router.get(EVENTS)
    async def events(
        ticket: Annotated[str | None, Query(max_length=100)] = None,
        after: Place = None,
        last_event_id: Annotated[int | None, Header(ge=0, le=_MOST)] = None,
    ) -> StreamingResponse:
        """Server-sent events `part`, `review`, `model`, `threshold`, from now or behind an id."""
        start = after if last_event_id is None else last_event_id
        return StreamingResponse(await service.events.listen(start), media_type="text/event-stream")

    # Under both names: probes ask at the root, programs below the interface's version.
    @router.get(f"{API}/health")
    @router.get("/health", include_in_schema=False)
    async def health() -> JSONResponse:
        """200 while parts are taken, 503 while the service ends."""
        word = "ending" if service.ending else "ok"
        return JSONResponse({"status": word}, 503 if service.ending else 200)

    @router.get(f"{API}/metrics")
    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router
