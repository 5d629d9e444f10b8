"""Copies of training images: what they look like, how they are told apart, what a bank gains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.config import Settings
from common.data.transforms import Preparation, to_tensor
from common.errors import InputError
from common.patchcore import PatchCore
from common.patchcore.local_bank import bank_patches
from common.patchcore.names import check_names
from common.patchcore.network.augmentation import AUGMENTATIONS, Copy, sizes_with_copies
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.inputs import ImageInput, with_copies

COPIES = [copy for copies in AUGMENTATIONS.values() for copy in copies]
IDS = [copy.name for copy in COPIES]


def pixels(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def twin(image: np.ndarray, copy: Copy) -> np.ndarray:
    """The same, spelled out: value by value."""
    turned = np.rot90(image, copy.quarter_turns)
    values = [min(255, max(0, round(int(v) * copy.brightness))) for v in turned.ravel()]
    return np.array(values, dtype=np.uint8).reshape(turned.shape)


@pytest.mark.parametrize("copy", COPIES, ids=IDS)
def test_pixels_are_those_of_the_twin(copy: Copy) -> None:
    image = pixels()
    found = np.asarray(copy.picture(Image.fromarray(image)))
    np.testing.assert_array_equal(found, twin(image, copy))
    assert copy.size((20, 30)) == found.shape[:2]


@pytest.mark.parametrize("copy", COPIES, ids=IDS)
def test_a_tensor_is_copied_as_its_picture(copy: Copy) -> None:
    """8-bit values are whole numbers again, so the two differ by float32 rounding alone."""
    picture = Image.fromarray(pixels())
    copied = ImageInput(to_tensor(picture), copy=copy).tensor(Preparation())
    torch.testing.assert_close(copied, to_tensor(copy.picture(picture)), rtol=0, atol=1e-5)


def test_every_copy_has_a_key_of_its_own(tmp_path: Path) -> None:
    image = pixels()
    Image.fromarray(image).save(tmp_path / "part.png")
    for source in (tmp_path / "part.png", image, to_tensor(Image.fromarray(image))):
        keys = {ImageInput(source, copy=copy).content_key() for copy in (None, *COPIES)}
        assert len(keys) == 1 + len(COPIES)
    plain = ImageInput(tmp_path / "part.png")
    assert [one.copy for one in with_copies([plain], "none")] == [None]
    assert with_copies([plain], "light")[0] == plain
    names = [one.name for one in with_copies([plain], "rotations")]
    assert names[2] == f"{tmp_path / 'part.png'}, turned 180 degrees"


def test_patches_count_with_their_copies(extractor: FeatureExtractor) -> None:
    """33 x 47 pixels are 5 x 6 patches; turned, 6 x 5: 30 each."""
    assert sizes_with_copies((33, 47), "rotations") == [(33, 47), (47, 33), (33, 47), (47, 33)]
    found = {name: bank_patches(extractor.space, (33, 47), name) for name in AUGMENTATIONS}
    assert found == {"none": 30, "rotations": 120, "light": 90}


@pytest.mark.parametrize("augment", ["rotations", "light"])
def test_the_bank_is_that_of_copies_made_by_hand(
    small: Settings, extractor: FeatureExtractor, pictures: list[Path], augment: str
) -> None:
    by_hand = [
        made
        for path in pictures
        for made in (
            np.asarray(Image.open(path)),
            *(twin(np.asarray(Image.open(path)), copy) for copy in AUGMENTATIONS[augment]),
        )
    ]
    plain = PatchCore(small, extractor=extractor).fit(by_hand, "part")
    told = PatchCore(small, extractor=extractor, augment=augment).fit(pictures, "part")
    np.testing.assert_array_equal(told.banks["part"], plain.banks["part"])
    assert told.radii == plain.radii


def test_a_category_has_its_share_by_its_images_not_their_copies(
    small: Settings, extractor: FeatureExtractor, pictures: list[Path]
) -> None:
    images = [{"image": path, "category": "ab"[n > 1]} for n, path in enumerate(pictures)]
    shares = []
    for augment in ("none", "rotations"):
        model = PatchCore(small, extractor=extractor, global_bank_size=12, augment=augment)
        shares.append({name: one.rows for name, one in model.fit(images).shares.items()})
    assert shares[0] == shares[1] == {"a": 4, "b": 8}


def test_a_saved_model_says_how_its_images_were_copied(
    small: Settings, extractor: FeatureExtractor, pictures: list[Path], tmp_path: Path
) -> None:
    model = PatchCore(small, extractor=extractor, augment="light").fit(pictures)
    model.save(tmp_path / "model")
    again = PatchCore.load(tmp_path / "model", device="cpu")
    assert again.settings.augment == "light"
    assert again.predict_single(pictures[0]).score == model.predict_single(pictures[0]).score


def part(turns: int = 0, light: float = 1.0, seed: int = 0) -> np.ndarray:
    """A bright bar along one side of a dark plate, with noise of its own; turned, in some light."""
    rng = np.random.default_rng(seed)
    plate = rng.normal(90, 4, (64, 64, 3))
    plate[8:16, 4:60] += 100
    return np.rot90(np.clip(plate * light, 0, 255).astype(np.uint8), turns)


@pytest.mark.parametrize(
    ("augment", "good"),
    [
        ("rotations", [part(turns=1 + n % 3, seed=100 + n) for n in range(6)]),
        ("light", [part(light=(0.8, 1.25)[n % 2], seed=100 + n) for n in range(6)]),
    ],
)
def test_good_parts_that_turn_or_are_lit_otherwise_are_found_good(
    small: Settings, extractor: FeatureExtractor, augment: str, good: list[np.ndarray]
) -> None:
    """The limit is twice what a bank says of parts as it saw them; a scratch exceeds it always."""
    train, held_out = [part(seed=n) for n in range(8)], [part(seed=50 + n) for n in range(4)]
    alarms = {}
    for name in ("none", augment):
        model = PatchCore(small, extractor=extractor, augment=name).fit(train)
        limit = 2 * max(found.score for found in model.predict(held_out))
        alarms[name] = sum(found.score > limit for found in model.predict(good))
        scratched = part(seed=99).copy()
        scratched[40:44, 20:50] = 250
        assert model.predict_single(scratched).score > limit
    assert alarms == {"none": len(good), augment: 0}


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"augment: found 'flips'.*none, rotations, light"):
        check_names(Settings(augment="flips"))
