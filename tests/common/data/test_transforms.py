"""Transforms: sizes are height x width, aspect is kept, values are ImageNet-normalized."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from data_folders import autovi, mvtec
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.data import (
    AutoVIDataset,
    CategoryTransformDataset,
    IIDPartitioner,
    TransformedSubset,
    create_dataloaders,
    get_transforms,
)
from common.data.transforms import CATEGORY_SIZES, collate, resized, to_tensor


def picture(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_every_category_has_its_own_size_right_way_round() -> None:
    assert get_transforms("tank_screw")(picture(750, 1000)).shape == (3, 750, 1000)
    assert get_transforms("tank_screw")(picture(75, 100)).shape == (3, 750, 1000)
    assert get_transforms("pipe_clip")(picture(40, 60)).shape == (3, 400, 400)
    assert get_transforms("bottle")(picture(40, 60)).shape == (3, 40, 60)
    assert get_transforms()(picture(40, 60)).shape == (3, 40, 60)
    assert set(CATEGORY_SIZES.values()) == {(400, 400), (750, 1000)}


def test_image_size_is_the_shorter_side() -> None:
    assert get_transforms("tank_screw", 96)(picture(750, 1000)).shape == (3, 96, 128)
    assert to_tensor(picture(100, 50), 32).shape == (3, 64, 32)
    assert to_tensor(picture(100, 50)).shape == (3, 100, 50)
    assert to_tensor(picture(100, 50), 50).shape == (3, 100, 50)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 512))
def test_resized_keeps_the_aspect(height: int, width: int, image_size: int) -> None:
    assert resized((height, width), 0) == (height, width)
    new_height, new_width = resized((height, width), image_size)
    assert min(new_height, new_width) == image_size
    assert (new_height <= new_width) == (height <= width) or new_height == new_width
    scale = image_size / min(height, width)
    assert abs(new_height - height * scale) <= 0.5
    assert abs(new_width - width * scale) <= 0.5
    assert resized((width, height), image_size) == (new_width, new_height)


def test_values_are_normalized() -> None:
    # (255 / 255 - 0.485) / 0.229 and so on for white; (0 - 0.485) / 0.229 for black.
    white = to_tensor(Image.new("RGB", (8, 8), (255, 255, 255)))
    black = to_tensor(Image.new("RGB", (8, 8), (0, 0, 0)), 32)
    np.testing.assert_allclose(white[:, 3, 3], [2.2489083, 2.4285715, 2.64], rtol=1e-6)
    np.testing.assert_allclose(black[:, 3, 3], [-2.117904, -2.0357141, -1.8044444], rtol=1e-6)
    assert white.dtype == torch.float32


def test_scaling_down_is_antialiased() -> None:
    """Stripes of one pixel become grey, not black or white."""
    stripes = np.zeros((128, 128, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = to_tensor(Image.fromarray(stripes), 32)[0] * 0.229 + 0.485
    assert 0.45 < float(small.min()) <= float(small.max()) < 0.55


def test_the_named_transform_is_that_of_a_run_on_files_of_that_size() -> None:
    image = picture(400, 400)
    torch.testing.assert_close(get_transforms("pipe_clip")(image), to_tensor(image))
    torch.testing.assert_close(get_transforms("pipe_clip", 64)(image), to_tensor(image, 64))
    pickle.loads(pickle.dumps(get_transforms("pipe_clip", 64)))  # workers of other processes


def test_category_transforms_subsets_and_loaders(tmp_path: Path) -> None:
    autovi(tmp_path, "a")
    mvtec(tmp_path, "tank_screw")
    plain = AutoVIDataset(tmp_path)
    data = CategoryTransformDataset(plain, image_size=32)
    assert len(data) == 13
    assert data[0]["image"].shape == (3, 48, 32)
    assert CategoryTransformDataset(plain)[0]["image"].shape == (3, 24, 16)
    assert CategoryTransformDataset(plain)[12]["image"].shape == (3, 750, 1000)
    subset = TransformedSubset(data, [12, 0])
    assert [item["path"] for item in subset] == [data[12]["path"], data[0]["path"]]

    partition = IIDPartitioner(2, seed=1).partition(plain)
    loaders = create_dataloaders(data, partition, batch_size=3)
    for station, loader in loaders.items():
        batches = list(loader)
        assert [path for batch in batches for path in batch["path"]] == [
            str(plain.samples[i].path) for i in partition[station]
        ]
        assert all(batch["image"].shape[1:] == (3, 48, 32) for batch in batches)
        labels = torch.cat([batch["label"] for batch in batches])
        assert labels.tolist() == [plain.samples[i].label for i in partition[station]]
    workers = create_dataloaders(data, {0: [0, 1]}, batch_size=2, num_workers=1)[0]
    torch.testing.assert_close(next(iter(workers))["image"][0], data[0]["image"])


def test_images_of_different_sizes_stay_a_list() -> None:
    items = [
        {
            "image": to_tensor(picture(8, w)),
            "label": 0,
            "category": "a",
            "defect_type": "good",
            "path": "p",
        }
        for w in (8, 9)
    ]
    batch = collate(items)
    assert [tuple(image.shape) for image in batch["image"]] == [(3, 8, 8), (3, 8, 9)]
