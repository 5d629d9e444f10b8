"""Whatever a caller holds images in: sizes, keys and tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from common.data import AutoVIDataset, CategoryTransformDataset, create_dataloaders, get_transforms
from common.data.transforms import Preparation, to_tensor
from common.errors import InputError
from common.patchcore.network.inputs import ImageInput, as_inputs


def array(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_path_a_picture_and_an_array_are_the_same_image(pictures: list[Path]) -> None:
    path = pictures[3]
    inputs = list(as_inputs([path, str(path), Image.open(path), array(path)]))
    assert [image.file_size for image in inputs] == [(33, 47)] * 4
    for image in inputs:
        torch.testing.assert_close(
            image.tensor(Preparation()), to_tensor(Image.open(path)), rtol=0, atol=0
        )
        assert image.tensor(Preparation(32)).shape == (3, 32, 46)


def test_normalized_tensors_are_never_normalized_again(pictures: list[Path]) -> None:
    tensor = get_transforms()(Image.open(pictures[0]))
    (image,) = as_inputs([tensor])
    assert image.file_size == (40, 56)
    assert torch.equal(image.tensor(Preparation()), tensor)
    assert image.tensor(Preparation(80)).shape == (3, 80, 112)
    batch = torch.stack([tensor, tensor + 1]).requires_grad_()
    both = list(as_inputs([batch]))
    assert torch.equal(both[1].tensor(Preparation()), tensor + 1)
    assert both[1].content_key() != both[0].content_key() == image.content_key()


def test_data_sets_and_loaders(tiny_data: Path) -> None:
    plain = AutoVIDataset(tiny_data, ["pipe_clip"], "train")
    wanted = [sample.path for sample in plain.samples]
    # The plain data set gives its paths: nothing is decoded before its turn.
    assert [image.source for image in as_inputs(plain)] == wanted
    tensors = [image.tensor(Preparation()) for image in as_inputs(plain)]
    data = CategoryTransformDataset(plain, image_size=32)
    scaled = [image.tensor(Preparation(32)) for image in as_inputs(plain)]
    loader = create_dataloaders(data, {0: range(4)}, batch_size=3)[0]
    for source in (data, loader):
        found = [image.tensor(Preparation(32)) for image in as_inputs(source)]
        assert all(torch.equal(a, b) for a, b in zip(found, scaled, strict=True))
    transformed = AutoVIDataset(tiny_data, ["pipe_clip"], "train", get_transforms())
    assert all(
        torch.equal(a.tensor(Preparation()), b)
        for a, b in zip(as_inputs(transformed), tensors, strict=True)
    )
    assert len(list(as_inputs(DataLoader(transformed, batch_size=2)))) == 4


def test_images_are_taken_in_one_at_a_time(pictures: list[Path]) -> None:
    endless = iter(lambda: pictures[0], None)
    inputs = as_inputs(endless)
    assert next(inputs).source == next(inputs).source == pictures[0]


def test_keys_are_of_the_content(tmp_path: Path, pictures: list[Path]) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[0].read_bytes())
    keys = [ImageInput(path).content_key() for path in (*pictures, copy)]
    assert len(set(keys)) == 6
    assert keys[-1] == keys[0]
    picture = Image.open(pictures[0])
    assert ImageInput(picture).content_key() == ImageInput(array(pictures[0])).content_key()
    # The same palette indices with other colours are another image.
    one = Image.new("P", (4, 4))
    one.putpalette([10, 20, 30])
    two = one.copy()
    two.putpalette([99, 20, 30])
    assert ImageInput(one).content_key() != ImageInput(two).content_key()
    flat = np.zeros((4, 8, 3), dtype=np.uint8)
    assert ImageInput(flat).content_key() != ImageInput(flat.reshape(8, 4, 3)).content_key()


def test_modes_of_pictures_and_arrays(pictures: list[Path]) -> None:
    rgb = array(pictures[0])
    grey = rgb[..., 0]
    wanted = ImageInput(np.repeat(grey[..., None], 3, axis=2)).tensor(Preparation())
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for image in as_inputs([grey, Image.fromarray(grey), deep]):
        assert torch.equal(image.tensor(Preparation()), wanted)
    rgba = np.concatenate([rgb, grey[..., None]], axis=2)
    for image in as_inputs([rgba, Image.fromarray(rgba)]):
        assert torch.equal(image.tensor(Preparation()), ImageInput(rgb).tensor(Preparation()))


@pytest.mark.parametrize(
    "wrong",
    [
        3,
        None,
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((3, 4, 5), dtype=np.uint8),
        np.zeros((0, 4, 3), dtype=np.uint8),
        np.zeros((2, 4, 4, 3), dtype=np.uint8),
        torch.zeros(4, 4, 3),
        torch.zeros(2, 4, 4, 3),
        torch.zeros(4, 4),
    ],
    ids=lambda wrong: f"{type(wrong).__name__}-{getattr(wrong, 'shape', wrong)}",
)
def test_what_is_no_image_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="cannot read an image from"):
        list(as_inputs([wrong]))


def test_a_single_path_is_not_a_list_of_letters(pictures: list[Path]) -> None:
    for single in (pictures[0], str(pictures[0])):
        with pytest.raises(ValueError, match="give a list"):
            list(as_inputs(single))  # type: ignore[arg-type]


def test_missing_files_are_named(tmp_path: Path) -> None:
    image = ImageInput(tmp_path / "absent.png")
    for ask in (image.content_key, lambda: image.tensor(Preparation()), lambda: image.file_size):
        with pytest.raises(InputError, match=r"absent\.png: found no such file"):
            ask()


def test_names_for_messages(pictures: list[Path]) -> None:
    assert ImageInput(pictures[0]).name == str(pictures[0])
    assert ImageInput(torch.zeros(3, 4, 6)).name == "Tensor of 4 x 6 pixels (height x width)"
