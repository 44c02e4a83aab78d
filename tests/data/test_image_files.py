"""Examples that are image files: how they are read, resized and augmented."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import image_folder_at, load_images, write_noise
from torch.utils.data import DataLoader

from zoo.data import images
from zoo.data.augment import Augment
from zoo.data.image_files import AugmentedImages, ImageFiles
from zoo.data.preprocess import Preprocess
from zoo.data.sources import image_folder, line


def test_gray_images_among_color_images_get_the_requested_shape(tmp_path):
    image_folder_at(tmp_path, count=3)
    write_noise(tmp_path / "cat" / "gray.png", 50, color=False)
    for shape in ((3, 8, 8), (1, 8, 8)):
        split = load_images(tmp_path, validation=0, test=0, shape=shape).train
        assert split.batch(range(7))[0].shape == (7, *shape)


def test_keep_labels_keeps_some_of_the_files(tmp_path):
    splits = load_images(image_folder_at(tmp_path, count=20))
    kept = splits.keep_labels(4, seed=1)
    assert kept.train.labels().tolist() == [0, 0, 1, 1]
    assert set(kept.train.files) < set(splits.train.files)
    assert set(splits.keep_labels(4, seed=2).train.files) != set(kept.train.files)
    x, y = kept.train.batch([3])
    assert y.tolist() == [1]
    assert torch.equal(x[0], images.read(kept.train.files[3], (3, 8, 8), resize=True))


def test_files_and_targets_are_arrays_that_workers_share(tmp_path):
    split = load_images(image_folder_at(tmp_path)).train
    assert isinstance(split.files, np.ndarray)
    assert split.files.dtype.kind == "U"  # the text itself, not references to Python's
    assert isinstance(split.targets, torch.Tensor)


def test_with_preprocess_reads_images_as_the_net_wants_them(tmp_path, photograph):
    image_folder_at(tmp_path)
    photograph.save(tmp_path / "cat" / "photo.png")
    preprocess = Preprocess((3, 64, 64), side=80, interpolation="bicubic")
    splits = load_images(tmp_path, shape=(3, 64, 64), validation=0).with_preprocess(preprocess)
    assert splits.validation is None
    for split in (splits.train, splits.test):
        assert (split.side, split.interpolation) == (80, "bicubic")
    everything = load_images(tmp_path, shape=(3, 64, 64), validation=0, test=0).with_preprocess(preprocess).train
    (k,) = [i for i, file in enumerate(everything.files) if file.endswith("photo.png")]
    assert torch.equal(preprocess(everything.batch([k])[0][0]), preprocess(photograph))
    with pytest.raises(ValueError, match="interpolation=best: choose one of"):
        splits.with_preprocess(replace(preprocess, interpolation="best"))


def test_with_preprocess_leaves_examples_in_memory_alone():

    splits = line.load()
    assert splits.with_preprocess(Preprocess((1,), side=3)).train is splits.train


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork")
def test_image_files_are_read_by_workers(tmp_path):
    split = load_images(image_folder_at(tmp_path), check=False, validation=0, test=0).train
    loader = DataLoader(split, batch_size=7, num_workers=1)
    assert isinstance(split, ImageFiles)
    assert torch.cat([x for x, _ in loader]).shape == (20, 3, 8, 8)


def test_a_truncated_image_is_named_when_it_is_read(pictures):
    broken = pictures / "above" / "3.png"
    broken.write_bytes(broken.read_bytes()[:200])
    everything = image_folder.load(root=str(pictures), shape=(1, 4, 4), validation=0, test=0, check=False).train
    with pytest.raises(ValueError, match="not a readable image") as refusal:
        everything.batch(range(len(everything)))
    assert str(refusal.value).startswith(str(broken))


def augmented(root: Path, seed=1, **options) -> AugmentedImages:
    split = load_images(root, validation=0, test=0, shape=(3, 16, 16)).train
    return AugmentedImages(split, augment=Augment(**{"crop": 0.3, **options}), seed=seed)


def test_augmentation_depends_on_seed_epoch_and_index_alone(tmp_path):
    some = augmented(image_folder_at(tmp_path, count=4))
    x, y = some.batch([(5, 0), (2, 0), (5, 1), (5, 0)])
    assert y.tolist() == [1, 0, 1, 1]
    assert torch.equal(x[0], x[3])
    assert not torch.equal(x[0], x[2])
    assert not torch.equal(augmented(tmp_path, seed=2).batch([(5, 0)])[0], x[:1])
    torch.manual_seed(3)
    assert torch.equal(some.batch([(2, 0)])[0], x[1:2])


def test_crops_are_cut_at_full_resolution(tmp_path):
    stripes = np.zeros((512, 512), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = stripes[:, 2::8] = stripes[:, 3::8] = 255  # gone once the whole is 16 x 16
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(stripes).save(tmp_path / name / "1.png")
    split = load_images(tmp_path, validation=0, test=0, shape=(1, 16, 16)).train
    crops = AugmentedImages(split, augment=Augment(crop=0.001), seed=1)
    small, _ = crops.batch([(0, epoch) for epoch in range(40)])
    contrast = small.float().flatten(1).std(dim=1)
    assert contrast.max() > 50
    assert split.batch([0])[0].float().std() < 5


def test_randaugment_of_files_leaves_the_global_generator_alone(tmp_path):
    some = augmented(image_folder_at(tmp_path, count=4), crop=1.0, randaugment=2)
    before = torch.get_rng_state()
    x, _ = some.batch([(0, epoch) for epoch in range(8)])
    assert torch.equal(torch.get_rng_state(), before)
    assert x.dtype == torch.uint8
    assert len(x.unique(dim=0)) > 3
    assert torch.equal(some.batch([(0, 3)])[0], x[3:4])
