"""The one way by which a new version comes to judge: tested first, then active, waiting or refused.

Delivered by a run, or made at the station by `add`, `calibrate`, `threshold` or the service: it is
the same test and the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.data.samples import Sample
from common.errors import InputError, explained
from common.line.models.judging import Progress, accept_version
from common.line.models.known_scores import KnownScores
from common.line.models.versions import ModelVersions, Version
from common.paths import DEFAULT_KEPT_MODELS

if TYPE_CHECKING:  # brings torch along, and a list of versions needs none
    from common.patchcore.network.feature_cache import FeatureCache


@dataclass(frozen=True)
class OwnImages:
    """What a station judges a new model by.

    Attributes
    ----------
    held_out, test : sequences of Sample
        See `accept_version`.
    station : str or None
    cache : FeatureCache or None
    known : KnownScores or None
        What a bank has said of them before.
    changes : mapping of setting to value
        Where and how to compute.
    """

    held_out: Sequence[Sample] = ()
    test: Sequence[Sample] = ()
    station: str | None = None
    cache: FeatureCache | None = None
    known: KnownScores | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StationRules:
    """How a station lets a new version judge.

    Attributes
    ----------
    station : str
        Its name.
    own_images : callable (model folder) -> OwnImages
        What it is tested by; `InputError` where there is nothing to test it by.
    activate : "auto" or "manual"
        With "manual" a version that has passed waits until somebody activates it.
    keep_models : int
        See `ModelVersions.keep`.
    """

    station: str
    own_images: Callable[[Path], OwnImages]
    activate: str = "auto"
    keep_models: int = DEFAULT_KEPT_MODELS


@dataclass(frozen=True)
class Admission:
    """What became of a version.

    Attributes
    ----------
    version : Version
        Its state is active, waiting, kept or refused.
    untested : str or None
        Why it could not be tested: then it waits, whatever the station's rules say.
    removed : tuple of str
        Versions that went because there were more than are kept.
    trouble : str or None
        Why old versions could not be removed; that costs the new one nothing.
    """

    version: Version
    untested: str | None = None
    removed: tuple[str, ...] = ()
    trouble: str | None = None


def admit(
    versions: ModelVersions,
    version: Version,
    rules: StationRules,
    *,
    by: str,
    why: str,
    instead_of: str | None = None,
    progress: Progress | None = None,
) -> Admission:
    """Test a version on the station's own images, and let it judge if it may.

    Parameters
    ----------
    versions : ModelVersions
    version : Version
        Stored; one that was tested before is not tested again.
    rules : StationRules
    by, why : str
        Kept with the switch.
    instead_of : str, optional
        See `ModelVersions.activate`.
    progress : callable (images done, images in all), optional

    Returns
    -------
    Admission
        A refused version stays with its figures, one that could not be tested stays as it is, and
        what was active still is.

    Raises
    ------
    InputError
        If it cannot be activated; what was active still is.
    """
    if version.state == "waiting" and version.acceptance is None:
        try:
            own = rules.own_images(version.folder)
        except InputError as error:
            return Admission(version, untested=str(error))
        active = versions.active()
        found = accept_version(
            version.folder,
            None if active is None else active.folder,
            held_out=own.held_out,
            test=own.test,
            station=own.station,
            compared_with=None if active is None else active.name,
            cache=own.cache,
            known=own.known,
            changes=dict(own.changes),
            progress=progress,
        )
        if not found.accepted:
            return Admission(versions.refuse(version.name, found.to_json(), found.sentence))
        version = versions.accept(version.name, found.to_json())
    if rules.activate == "auto" and version.state in ("waiting", "kept"):
        version = versions.activate(version.name, by=by, why=why, instead_of=instead_of)
    try:
        return Admission(version, removed=tuple(versions.keep(rules.keep_models)))
    except InputError as error:
        return Admission(version, trouble=str(error))
    except OSError as error:
        return Admission(version, trouble=explained(error))
