"""A station's model versions: list, switch, roll back, another threshold."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.data.names import normal
from common.line.models.admission import Admission, StationRules
from common.line.models.successor import set_by_hand
from common.line.models.versions import ModelVersions
from common.line.service.entries import API
from common.line.service.routes.work import Missing, Work
from common.line.service.service import Service

By = Annotated[str, Field(min_length=1, max_length=100)]
Why = Annotated[str, Field(min_length=1, max_length=400)]


class SwitchBody(BaseModel):
    """Who lets another model judge, and why."""

    model_config = ConfigDict(extra="forbid")
    by: By
    why: Why


class ActivateBody(SwitchBody):
    """The same, and whether a version may judge that failed the acceptance test."""

    even_refused: bool = False


class ThresholdBody(SwitchBody):
    """Who lets another threshold judge, and why."""

    category: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(normal)]
    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]


def model_routes(service: Service, work: Work) -> APIRouter:
    """Make the operations on a station's models.

    Parameters
    ----------
    service : Service
    work : Work
    """
    router = APIRouter(tags=["models"])

    @router.get(f"{API}/models")
    async def models() -> JSONResponse:
        """Versions of the station's model, the latest first."""
        versions = _versions(service)
        return JSONResponse({"models": [one.to_json() for one in await work.ask(versions.all)]})

    @router.post(f"{API}/models/{{name}}/activate")
    async def activate(name: str, body: ActivateBody) -> JSONResponse:
        """Let another version judge; the service takes it over within seconds."""
        versions = _versions(service)
        version = await work.change(
            lambda: versions.activate(
                name, by=body.by, why=body.why, even_refused=body.even_refused
            )
        )
        return JSONResponse(version.to_json())

    @router.post(f"{API}/models/rollback")
    async def rollback(body: SwitchBody) -> JSONResponse:
        """Let the version judge again that was active before this one."""
        versions = _versions(service)
        version = await work.change(lambda: versions.rollback(by=body.by, why=body.why))
        return JSONResponse(version.to_json())

    @router.post(f"{API}/thresholds")
    async def threshold(body: ThresholdBody) -> JSONResponse:
        """Another threshold, in a new version; answered after its test, with 409 if refused."""
        versions, rules = _versions(service), _rules(service)
        made, found = await work.change(
            lambda: set_by_hand(
                versions, rules, body.category, body.value, by=body.by, reason=body.why
            )
        )
        refused = found.version.state == "refused"
        told = {
            "category": body.category,
            "value": made.value,
            "previous": made.previous,
            "meaning": made.sentence,
            "outcome": _outcome(found),
            "model": found.version.to_json(),
        }
        if refused:
            told["error"] = f"{_outcome(found)}; the model before goes on judging"
        return JSONResponse(told, 409 if refused else 200)

    return router


def _outcome(found: Admission) -> str:
    """What the acceptance test said, or why there was none."""
    if found.untested is not None:
        return "not tested, so it waits: the station's own images are not at hand here"
    return str((found.version.acceptance or {}).get("sentence", found.version.state))


def _versions(service: Service) -> ModelVersions:
    versions = getattr(service.source, "versions", None)
    if not isinstance(versions, ModelVersions):
        raise Missing("this service was started with a model folder, which has no versions")
    return versions


def _rules(service: Service) -> StationRules:
    if service.rules is None:
        raise Missing("this service was started without a station file, so nothing can be tested")
    return service.rules
