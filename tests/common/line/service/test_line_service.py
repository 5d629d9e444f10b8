"""Parts posted to a real socket: judged as `inspect` judges, kept, found again, reviewed."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from line_service import PARTS, Running, post, running
from PIL import Image

from common.cli.main import run
from common.line.journal import Journal
from common.line.service.bounds import Bounds


def test_a_part_is_judged_as_inspect_does(
    plain: Running, saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    given = [str(path) for path in pictures]
    assert run(["inspect", str(saved), *given, "--out", str(tmp_path)]) == 0
    expected = json.loads((tmp_path / "results.json").read_text())
    with plain.client() as client:
        for path, entry in zip(pictures, expected, strict=True):
            answer = post(client, path, part="4711").json()
            for key in ("category", "score", "threshold", "anomalous", "regions"):
                assert answer[key] == entry[key], key
            assert answer["path"] == path.name
            assert answer["part"] == "4711"
            assert client.get(f"{PARTS}/{answer['id']}").json()["score"] == entry["score"]
            overlay = client.get(answer["overlay"])
            drawn = np.asarray(Image.open(io.BytesIO(overlay.content)))
            assert np.array_equal(drawn, np.asarray(Image.open(tmp_path / entry["overlay"])))
            kept = client.get(f"{PARTS}/{answer['id']}/image")
            assert kept.content == path.read_bytes()
            assert kept.headers["content-type"] == "image/png"


def test_many_clients_at_once_get_the_same_scores(
    plain: Running, fitted: object, pictures: list[Path]
) -> None:
    with plain.client() as client:
        alone = {path: post(client, path).json()["score"] for path in pictures}
    found: list[tuple[Path, int, float]] = []

    def client_of(mine: list[Path]) -> None:
        with plain.client() as client:
            for path in mine:
                answer = post(client, path).json()
                found.append((path, answer["id"], answer["score"]))

    threads = [threading.Thread(target=client_of, args=(pictures[n:],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10 + 9 + 8 + 7
    assert len({id for _, id, _ in found}) == len(found)
    assert all(score == alone[path] for path, _, score in found)


def test_parts_are_found_page_by_page_and_reviewed(
    saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    with running(saved, tmp_path / "journal") as one, one.client() as client:
        answers = [post(client, path, part=path.stem).json() for path in pictures]
        ids = [answer["id"] for answer in answers]
        page = client.get(PARTS, params={"limit": 4}).json()
        assert [part["id"] for part in page["parts"]] == ids[:-5:-1]
        page = client.get(PARTS, params={"limit": 4, "after": page["after"]}).json()
        assert [part["id"] for part in page["parts"]] == ids[-5:-9:-1]
        rejected = client.get(PARTS, params={"anomalous": True}).json()
        assert rejected["after"] is None
        anomalous = [answer["id"] for answer in answers if answer["anomalous"]]
        assert set(ids[1::2]) <= set(anomalous)
        assert [part["id"] for part in rejected["parts"]] == anomalous[::-1]
        review = {"verdict": "good", "by": "Ann", "note": "a scratch <b>"}
        answer = client.post(f"{PARTS}/{ids[1]}/review", json=review)
        assert answer.json()["part_id"] == ids[1]
        (only,) = client.get(PARTS, params={"reviewed": True}).json()["parts"]
        assert (only["id"], only["review"]["by"]) == (ids[1], "Ann")
        assert client.get(PARTS, params={"since": "yesterday"}).status_code == 422
        assert client.get(f"{PARTS}/999999").status_code == 404
        assert client.get(f"{PARTS}/{ids[0]}x").status_code == 422
        for bad in ({"verdict": "fine", "by": "Ann"}, {"verdict": "good"}, {**review, "x": 1}):
            refused = client.post(f"{PARTS}/{ids[1]}/review", json=bad)
            assert refused.status_code == 422
            assert list(refused.json()) == ["error"]
        assert client.post(f"{PARTS}/999999/review", json=review).status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "category", "status", "said"),
    [
        ("a.png", b"no image", "plate", 422, "a.png: found a file that is not an image"),
        ("a.png", b"", "plate", 422, "an empty file"),
        ("a.webp", b"RIFF", "plate", 422, "are not read"),
        ("a.png", None, "screw", 422, "no bank for category 'screw'; it has: plate"),
    ],
)
def test_what_cannot_be_judged_is_told_in_a_sentence(
    plain: Running,
    pictures: list[Path],
    name: str,
    content: bytes | None,
    category: str,
    status: int,
    said: str,
) -> None:
    rows = plain.service.journal.summary().rows["verdicts"]
    with plain.client() as client:
        content = pictures[0].read_bytes() if content is None else content
        answer = client.post(PARTS, files={"image": (name, content)}, data={"category": category})
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert "incoming" not in answer.json()["error"]
    assert list(plain.service.intake.folder.iterdir()) == []
    assert plain.service.journal.summary().rows["verdicts"] == rows


def test_a_full_house_answers_503_and_loses_nothing(
    saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    with running(saved, tmp_path / "journal", Bounds(places=2)) as one:
        answers: list[int] = []
        later: list[str] = []

        def client_of(number: int) -> None:
            with one.client() as client:
                for path in pictures[:4]:
                    answer = post(client, path, part=f"{number}-{path.stem}")
                    answers.append(answer.status_code)
                    if answer.status_code == 503:
                        later.append(answer.headers["retry-after"])

        threads = [threading.Thread(target=client_of, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(answers) == {200, 503}
        assert all(int(seconds) >= 1 for seconds in later)
        entries = list(one.service.journal.entries())
    assert len(entries) == answers.count(200)
    assert len({entry.verdict.part for entry in entries}) == len(entries)


def test_listeners_are_told_and_bounded(saved: Path, pictures: list[Path], tmp_path: Path) -> None:
    bounds = Bounds(listeners=1)
    with running(saved, tmp_path / "journal", bounds) as one, one.client() as client:
        with client.stream("GET", "/api/v1/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 3000"
            with one.client() as other:
                assert other.get("/api/v1/events").status_code == 503
                answer = post(other, pictures[0]).json()
                other.post(f"{PARTS}/{answer['id']}/review", json={"verdict": "good", "by": "A"})
            found = [line for line in (next(lines) for _ in range(8)) if line]
        assert [found[0], found[3]] == ["event: part", "event: review"]
        assert found[1] == f"id: {answer['id']}"
        assert json.loads(found[2].removeprefix("data: ")) == answer


def test_status_metrics_health_and_operations(plain: Running, pictures: list[Path]) -> None:
    with plain.client() as client:
        post(client, pictures[1])
        status = client.get("/api/v1/status").json()
        assert status["model"]["sha256"] == plain.service.resident.found.sha256
        assert status["queue"] == {"taken": 0, "places": 16}
        text = client.get("/metrics").text
        assert 'fedpatchcore_parts_total{category="plate",verdict="anomalous"}' in text
        assert "fedpatchcore_queue_length 0.0" in text
        assert client.get("/health").json() == {"status": "ok"}
        page = client.get("/docs")
        assert "script" not in page.text
        assert "/api/v1/parts/{id}/review" in page.text
        assert "http" not in page.text.replace("https", "http").split("<h2>")[0]
        schema = client.get("/openapi.json").json()
        form = schema["paths"][PARTS]["post"]["requestBody"]["content"]["multipart/form-data"]
        assert set(form["schema"]["properties"]) == {"image", "category", "part"}


def test_a_model_without_a_threshold_gives_scores_alone(
    fitted: object, saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    from common.patchcore import PatchCore

    model = PatchCore.load(saved, device="cpu")
    model.thresholds, model.calibration = {}, {}
    model.save(tmp_path / "model")
    with running(tmp_path / "model", tmp_path / "journal") as one, one.client() as client:
        answer = post(client, pictures[1]).json()
    assert answer["anomalous"] is None
    assert answer["threshold"] is None
    assert answer["score"] > 0
    assert "no threshold" in answer["threshold_source"]


def test_what_is_answered_is_in_the_journal(
    saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    with running(saved, tmp_path / "journal") as one, one.client() as client:
        answers = [post(client, path).json() for path in pictures[:3]]
        sha256 = one.service.resident.found.sha256
    with Journal.reading(tmp_path / "journal") as journal:
        assert [entry.id for entry in journal.entries()] == [one["id"] for one in answers]
        (switch,) = journal.switches()
        assert (switch.model_sha256, switch.by) == (sha256, "service")
