"""A station's model versions on its disk, and the test that a new one passes first.

`docs/models.md` tells the format. `ModelVersions` keeps them, `accept_version` judges a new one by
the station's own images, `judge_acceptance` is the rule alone, `admit` does all of it.
"""

from common.line.models.acceptance import Acceptance, JudgedImages, judge_acceptance
from common.line.models.admission import Admission, OwnImages, StationRules, admit
from common.line.models.judging import accept_version
from common.line.models.versions import ModelVersions, Version, model_sha256

__all__ = [
    "Acceptance",
    "Admission",
    "JudgedImages",
    "ModelVersions",
    "OwnImages",
    "StationRules",
    "Version",
    "accept_version",
    "admit",
    "judge_acceptance",
    "model_sha256",
]
