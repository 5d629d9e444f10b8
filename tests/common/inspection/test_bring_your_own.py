"""Anybody's pictures, from training to verdict: every format that a camera may write."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from inspection_cases import draw_part
from numpy.typing import NDArray
from PIL import Image

from common.cli.main import run

pytestmark = pytest.mark.usefixtures("plain_module")

Grey = NDArray[np.uint8]

SETTINGS = {
    "backbone": "resnet18",
    "weights": "random",
    "global-bank-size": "200",
    "local-coreset-ratio": "1.0",
    "num-stations": "1",
    "num-workers": "1",
}


def save(mode: str, **options: object) -> Callable[[Grey, Path], None]:
    return lambda grey, path: Image.fromarray(grey).convert(mode).save(path, **options)


def sixteen_bits(grey: Grey, path: Path) -> None:
    Image.fromarray((grey.astype(np.uint16) * 257).astype(np.uint16)).save(path)


def sixteen_bits_colour(grey: Grey, path: Path) -> None:
    """Pillow reads such PNG files and cannot write them."""
    wide = np.repeat(grey.astype(">u2")[..., None] * 257, 3, axis=2).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in wide)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def see_through(grey: Grey, path: Path) -> None:
    """With an alpha channel that must not count: its left half is transparent."""
    alpha = np.full_like(grey, 255)
    alpha[:, : grey.shape[1] // 2] = 0
    Image.fromarray(np.dstack([grey, grey, grey, alpha])).save(path)


def turned(grey: Grey, path: Path) -> None:
    """Stored lying on its side, with an EXIF tag that sets it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(grey).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    options = {"quality": 95} if path.suffix == ".jpg" else {}
    picture.save(path, exif=exif, **options)


EXACT: dict[str, Callable[[Grey, Path], None]] = {
    "colour.png": save("RGB"),
    "grey.png": save("L"),
    "grey-16.png": sixteen_bits,
    "colour-16.png": sixteen_bits_colour,
    "grey-alpha.png": save("LA"),
    "colour-alpha.png": see_through,
    "palette.png": save("P"),
    "turned.png": turned,
    "colour.bmp": save("RGB"),
    "grey.bmp": save("L"),
    "colour.tif": save("RGB"),
    "grey.TIFF": save("L", format="TIFF"),
    "grey-16.tif": sixteen_bits,
    "packed.tif": save("RGB", compression="tiff_lzw"),
    "cmyk.tif": save("CMYK"),
    "colour-alpha.tif": see_through,
    "turned.tif": turned,
}
"""Formats that keep every pixel: the score must be that of the plain PNG file."""
LOSSY: dict[str, Callable[[Grey, Path], None]] = {
    "colour.jpg": save("RGB", quality=95),
    "grey.jpeg": save("L", quality=95),
    "progressive.JPG": save("RGB", quality=95, progressive=True, format="JPEG"),
    "cmyk.jpg": save("CMYK", quality=95),
    "turned.jpg": turned,
}


def grey_part(folder: Path, seed: int, defect: bool = False) -> Grey:
    path = draw_part(folder / "drawn.png", seed, defect)
    return np.asarray(Image.open(path).convert("L"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of which every training image has another format."""
    root = tmp_path_factory.mktemp("own")
    formats = {**EXACT, **LOSSY}
    for folder in ("train/good", "test/good", "test/cut"):
        (root / "data/My part 7" / folder).mkdir(parents=True)
    for number, (name, write) in enumerate(formats.items()):
        place = root / "data/My part 7"
        write(grey_part(root, number), place / f"train/good/{number:03d} {name}")
        write(grey_part(root, 100), place / f"test/good/{name}")
        write(grey_part(root, 200, defect=True), place / f"test/cut/{name}")
    return root / "data"


def test_every_format_from_training_to_verdict(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    changes = [text for k, v in SETTINGS.items() for text in ("--set", f"{k}={v}")]
    model, out = tmp_path / "run", tmp_path / "out"
    assert run(["baseline", str(data), "--out", str(model), *changes]) == 0
    told = json.loads((model / "evaluation/metrics/centralized/My part 7/metrics.json").read_text())
    assert told["counts"]["images"] == 2 * (len(EXACT) + len(LOSSY))
    assert "localization.auc_spro" in told["not_computed"]  # it has no masks
    assert told["classification"]["auc_roc"] == 1.0

    assert run(["inspect", str(model), str(data / "My part 7/test"), "--out", str(out)]) == 0
    entries = json.loads((out / "results.json").read_text())
    by_name = {tuple(Path(entry["path"]).parts[-2:]): entry for entry in entries}
    assert len(by_name) == 2 * (len(EXACT) + len(LOSSY))
    for kind, anomalous in (("good", False), ("cut", True)):
        plain = by_name[kind, "colour.png"]
        for name in EXACT:
            entry = by_name[kind, name]
            assert entry["score"] == plain["score"], (kind, name)
            assert entry["regions"] == plain["regions"], (kind, name)
        for name in (*EXACT, *LOSSY):
            entry = by_name[kind, name]
            assert entry["anomalous"] is anomalous, (kind, name, entry["score"], entry["threshold"])
            assert Image.open(out / entry["overlay"]).size == (72, 48), (kind, name)
            if anomalous:  # rows 32 to 41 and columns 52 to 63 of the upright picture
                worst = entry["regions"][0]
                assert 28 <= worst["peak_row"] < 46, (kind, name)
                assert 48 <= worst["peak_column"] < 68, (kind, name)


def test_pictures_of_one_name_are_refused_only_where_their_maps_would_be_one(
    data: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "data" / "plate"
    shutil.copytree(data / "My part 7", own)  # colour.png beside colour.jpg
    arguments = ["evaluate", str(saved), str(own.parent), "--out", str(tmp_path / "out")]
    assert run(["check", str(own.parent)]) == 1
    assert "same-stem" not in capsys.readouterr().out
    assert run([*arguments, "--export-maps", str(tmp_path / "maps")]) == 2
    assert "its map would have the same name" in capsys.readouterr().err
    (own / "ground_truth/cut").mkdir(parents=True)
    mask = np.zeros((48, 72), np.uint8)
    mask[32:42, 52:64] = 255
    for stem in {path.stem for path in (own / "test/cut").iterdir()}:
        Image.fromarray(mask).save(own / f"ground_truth/cut/{stem}_mask.png")
    assert run(arguments) == 2
    assert "their masks cannot be told apart" in capsys.readouterr().err
    assert run(["check", str(own.parent)]) == 1
    assert "same-stem" in capsys.readouterr().out
