"""Nothing that comes over the network becomes a path on a station."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from common.patchcore.network.weights import expected_shapes, random_state

HELPERS = str(Path(__file__).parents[1] / "helpers")

SCRIPT = r'''
"""Ask a real station all kinds of hostile things, and watch every file that Python touches."""
import json, os, sys

touched = []
FILES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir",
         "os.truncate", "os.utime", "os.link", "os.symlink", "os.chmod", "shutil.rmtree",
         "shutil.copyfile", "shutil.move", "subprocess.Popen", "os.system", "os.exec")

def watch(event, args):
    if event in FILES:
        touched.append((event, repr(args)))

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from client_app.app import app
from common.config import Settings
from common.protocol.messages import BankPart, BuildReply, BuildRequest, Received
from common.protocol.messages import ScoreReply, ScoreRequest
from common.protocol.messages import SurveyReply, SurveyRequest
from common.protocol.records import FACTS, pack, read_facts, to_arrays, to_request

TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
data, cache, MARK, helpers = sys.argv[1:]
sys.path.insert(0, helpers)
from letter_cases import plant_keys
keys = plant_keys()
node = {"station": "press", "data-root": data, "cache-dir": cache, **keys.node_config("press")}
good = Settings(backbone="resnet18", weights="random", num_workers=1, device="cpu",
                coreset_projection=16).to_run_config()
PATHS = [f"/tmp/{MARK}", f"../../{MARK}", f"~/{MARK}", f"file:///{MARK}", f"{MARK}\x00.pth",
         f"{MARK}/{MARK}", f"$({MARK})", f"..%2f{MARK}"]
sys.addaudithook(watch)
told = {}

def send(kind, content, config):
    context = Context(77, 3, dict(node), RecordDict(), config)
    # The server itself is hostile: what it asks is signed.
    return keys.ask(app, Message(content, dst_node_id=3, message_type=kind), context).content

def outcome(content):
    failure = content.get("failure")
    return json.loads(failure["json"])["code"] if failure is not None else "answered"

def note(what, content):
    told.setdefault(what, set()).add(outcome(content))

def asks():
    """Honest requests of every kind, with facts as JSON, to be spoilt."""
    rows = {"bank/shared": np.ones((3, 384), np.float16)}
    yield "query", SurveyRequest(), {}
    yield "train.take_bank", BankPart(round=1, part=0, parts=1), rows
    yield "train", BuildRequest(round=1, budgets={"shared": 5}, part=0, parts=1, bank_parts=0), {}
    yield "evaluate", ScoreRequest(round=1, bank_parts=0, score_images=True), rows

# Every setting of a run that a path fits into, in every kind of request.
for key in good:
    for path in PATHS:
        note(f"run config {key}", send("query", to_request(SurveyRequest(), 60.0),
                                       {**good, key: path}))
for key in ("data-root", "weights", "output-dir", "feature-space"):
    for kind, facts, rows in asks():
        note(f"{kind} with {key}", send(kind, to_request(facts, 60.0, pack(rows)),
                                        {**good, key: PATHS[0]}))

# Every field of every request.
for kind, facts, rows in asks():
    for field, honest in json.loads(facts.model_dump_json()).items():
        for path in [*PATHS, -1, 10**30, 1.5, None, [], {PATHS[1]: 5}, {PATHS[0]: 5}]:
            if isinstance(path, float) and isinstance(honest, bool):
                continue
            content = to_request(facts, 60.0, pack(rows))
            spoilt = {**json.loads(facts.model_dump_json()), field: path}
            content.config_records[FACTS]["json"] = json.dumps(spoilt)
            note(f"{kind} {field}", send(kind, content, good))

# Names of banks, and records that nobody knows.
for path in PATHS:
    for kind, facts, rows in asks():
        if rows:
            odd = {f"bank/{path}": rows["bank/shared"]}
            # A category may be called as a command is: it is a name, and no path.
            legal = " with a legal name" if path.startswith("$") else ""
            note(f"{kind} bank{legal}", send(kind, to_request(facts, 60.0, pack(odd)), good))
        content = to_request(facts, 60.0, pack(rows))
        content[path] = ConfigRecord({path: path})
        if rows:
            note(f"{kind} record", send(kind, content, good))

print("\n" + json.dumps({
    "told": {what: sorted(codes) for what, codes in told.items()},
    "touched": [item for item in touched if MARK in item[1]],
    "watched": len(touched),
}))
'''


def test_hostile_values_in_every_field_touch_no_file(tiny_data: Path, tmp_path: Path) -> None:
    mark = "hostilemarker"
    home, cache = tmp_path / "home", tmp_path / "cache"
    # Where a run's path is ignored, the published weights are looked for: they must be there.
    published = home / ".cache/torch/hub/checkpoints/resnet18-f37072fd.pth"
    published.parent.mkdir(parents=True)
    torch.save(random_state(expected_shapes("resnet18", ("layer2", "layer3")), 5), published)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_data), str(cache), mark, HELPERS],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["watched"] > 1000  # the station did work, under watch
    assert found["touched"] == []
    told = found["told"]
    # What a real station decides by itself, it answers as if nothing had been said.
    for key in ("data-root", "weights", "output-dir", "feature-space"):
        assert told[f"run config {key}"] == ["answered"], key
        for kind in ("query", "train", "train.take_bank", "evaluate"):
            assert told[f"{kind} with {key}"] == ["answered"], (kind, key)
    # All else is refused for what it is, and nothing comes as a surprise.
    for what, codes in told.items():
        if what.startswith("run config") and codes != ["answered"]:
            assert codes == ["unusable-input"], what
        elif not what.startswith("run config") and " with " not in what:
            assert codes == ["unusable-request"], what
    # Beside its caches nothing was written, not even by another name.
    kept = {"features", "letters", "rows", "runs", "scores"}
    assert {path.name for path in cache.iterdir()} == kept
    assert [path for path in tmp_path.rglob("*") if mark in path.name] == []
