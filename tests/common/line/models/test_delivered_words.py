"""What a station is sent of a model is a list of words: what nobody named stays at the server."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import pytest
from model_versions import small_model

from common.evaluation import Threshold
from common.line.models.delivered import (
    FACTS_SENT,
    PROVENANCE_SENT,
    model_for,
    model_of,
    model_text,
)
from common.patchcore.distances import Distances
from common.patchcore.model_store import SavedModel, StationCalibration

APP = "ab" * 32
SECRETS = ("/srv/fedpatchcore/runs", "server-7.plant", "mallory", "0.8125", "7.375", "5.625")
THRESHOLD = {
    "value": 0.5,
    "target_false_alarm_rate": 0.05,
    "promised_false_alarm_rate": 0.05,
    "held_out_images": 19,
    "note": "a promise",
    "by": "mallory",
    "host": "server-7.plant",
}
PROVENANCE = {
    "method": "federated",
    "created": "2026-03-01T12:00:00+00:00",
    "synthetic_data": False,
    "calibration_fraction": 0.1,
    "flower_run_id": "77",
    "stations": {"mill": 3, "gate": 1},
    "program_version": "1.2.3",
    "app_sha256": APP,
}


@dataclass(frozen=True)
class LaterModel(SavedModel):
    """As a later version may keep it: with a field that today's delivery has never heard of."""

    station_scores: Any = None

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "station_scores": self.station_scores}


@pytest.fixture
def kept() -> LaterModel:
    """The server's: of two stations, with a path, a host name and scores at every place."""
    plain = small_model(
        1,
        provenance={
            **PROVENANCE,
            "output_dir": "/srv/fedpatchcore/runs/77",
            "host": "server-7.plant",
            "station_scores": {"gate": [0.8125]},
        },
        thresholds={"plate": THRESHOLD},
        calibration={"plate": [0.25, 0.5, 0.8125]},
        stations={
            "mill": StationCalibration({"plate": THRESHOLD}, {"plate": [0.25, 0.5]}),
            "gate": StationCalibration(
                {"plate": {**THRESHOLD, "value": 7.375}}, {"plate": [5.625]}
            ),
        },
        radii={"plate": 2.0},
        selection=Distances(16, 42),
        weights_source="/srv/fedpatchcore/runs/weights.pth",
    )
    values = {own.name: getattr(plain, own.name) for own in fields(plain)}
    return LaterModel(**values, station_scores={"gate": [0.8125]})


def test_what_nobody_named_never_travels(kept: LaterModel) -> None:
    own = model_for(kept, "mill", {"plate"})
    assert own is not None
    text = model_text(own)
    assert [word for word in SECRETS if word in text] == []
    facts = json.loads(text)
    assert set(facts) == set(FACTS_SENT)
    assert facts["provenance"] == PROVENANCE
    assert set(facts["provenance"]) == set(PROVENANCE_SENT)
    promised = {
        key: THRESHOLD[key] for key in {one.name for one in fields(Threshold)} & set(THRESHOLD)
    }
    assert facts["thresholds"] == {"plate": promised}
    mine = {"thresholds": {"plate": promised}, "calibration": {"plate": [0.25, 0.5]}}
    assert facts["stations"] == {"mill": mine}
    assert (facts["calibration"], facts["weights_source"]) == ({}, "")


def test_the_text_of_a_model_with_more_facts_names_none_of_them(kept: LaterModel) -> None:
    assert "station_scores" in kept.facts()
    assert set(json.loads(model_text(kept))) == set(FACTS_SENT)


def test_what_travels_is_all_that_a_model_needs(kept: LaterModel) -> None:
    own = model_for(kept, "mill", {"plate"})
    assert own is not None
    again = model_of(model_text(own), own.banks)
    assert model_text(again) == model_text(own)
    assert (again.radii, again.selection) == ({"plate": 2.0}, Distances(16, 42))
    assert (again.space, again.image_score) == (kept.space, kept.image_score)
