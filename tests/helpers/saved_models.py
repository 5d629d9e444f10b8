"""Models whose facts a test changes, as a program would have written them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.patchcore.model_files import facts_digest, file_digest


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write a `model.json` that says of itself that it is whole, as its run does."""
    told = {name: value for name, value in facts.items() if name != "sha256"}
    if "sha256" in facts:
        told["sha256"] = {**facts["sha256"], "model.json": facts_digest(told)}
    path.write_text(json.dumps(told))
    run = path.parent.parent / "run.json"
    if path.parent.name == "model" and run.is_file():
        tells = json.loads(run.read_text())
        if "model_sha256" in tells:
            run.write_text(json.dumps({**tells, "model_sha256": file_digest(path)}))
