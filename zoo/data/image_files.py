"""Examples stored as image files: decoded when a batch is read, so a dataset may be larger than memory."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import images
from zoo.data.augment import Augment
from zoo.data.crop import crop_boxes
from zoo.data.orientation import Box
from zoo.data.preprocess import Preprocess
from zoo.data.splits import AugmentedExamples, Examples, seed_from


def path_key(file: str | Path, root: str | Path) -> bytes:
    """The path of a file below ``root``, the same on every machine: parts joined by /, in UTF-8 and NFC.

    macOS may store the name of a file in decomposed form, so it is composed. Bytes that are not valid
    UTF-8 stay as they are.
    """
    below = Path(file).relative_to(root).as_posix()
    return unicodedata.normalize("NFC", below).encode(errors="surrogateescape")


@dataclass(frozen=True, eq=False)
class ImageFiles(Examples):
    """Image files and their class numbers; decoded and resized to ``shape`` batch by batch.

    Attributes:
        files: N paths, as a NumPy array of text. Reference counting would write to the memory pages of a Python list,
            so every worker process would copy them.
        targets: N class numbers, N x num_targets real values, or N x labels of 0 and 1.
        shape: channels, height, width.
        side: as in `zoo.data.preprocess.Preprocess`.
        interpolation: likewise.
        root: the folder of the dataset, which contains all files.
        sizes: the heights and widths of the files of the dataset, in words; "" if they are not known.
    """

    files: np.ndarray[Any, np.dtype[np.str_]]
    targets: Tensor
    shape: tuple[int, ...]
    side: int | None = None
    interpolation: str = "bilinear"
    root: str = ""
    sizes: str = ""

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return torch.stack([self.read(index) for index in indices]), self.targets[torch.as_tensor(indices)]

    def read(self, index: int) -> Tensor:
        """One image: uint8 of ``shape``."""
        return images.read(self.files[index], self.shape, resize=True, side=self.side, interpolation=self.interpolation)

    def labels(self) -> Tensor:
        return self.targets

    def digest(self) -> str:
        """A hash of the paths below ``root`` and of the class numbers. No file is read."""
        digest = blake2b(digest_size=16)
        for file, target in zip(self.files.tolist(), self.targets.tolist(), strict=True):
            digest.update(path_key(file, self.root) + f"\0{target}\0".encode())
        return digest.hexdigest()

    def take(self, indices: Sequence[int]) -> "ImageFiles":
        # The same indices select from the NumPy array and from the tensor.
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return replace(self, files=self.files[chosen.numpy()], targets=self.targets[chosen])

    def renumbered(self, numbers: Tensor) -> "ImageFiles":
        return replace(self, targets=numbers[self.targets])

    def with_labels(self, columns: Tensor) -> "ImageFiles":
        return replace(self, targets=self.targets @ columns)

    def relabeled(self, labels: Tensor) -> "ImageFiles":
        return replace(self, targets=labels)

    def with_preprocess(self, preprocess: Preprocess) -> "ImageFiles":
        """The same files, resized as ``preprocess`` says. Raises ValueError if its interpolation is unknown."""
        # Refuse an unknown filter now, not when the first image is read.
        images.resampling(preprocess.interpolation)
        return replace(self, side=preprocess.side, interpolation=preprocess.interpolation)

    def augmented(self, augment: Augment, seed: int) -> "AugmentedImages | None":
        """Random crops and RandAugment are applied when files are read: crops need the full resolution.

        None if both are switched off.
        """
        # Other augmentation is faster on a whole batch on the device.
        if augment.crop == 1 and not augment.randaugment:
            return None
        return AugmentedImages(self, augment, seed)


@dataclass(frozen=True, eq=False)
class AugmentedImages(AugmentedExamples):
    """Image files, each read as a random crop and changed by RandAugment, if these are switched on.

    The random numbers are functions of (seed, epoch, index), whichever process reads the image.

    Attributes:
        source: the files.
        augment: all options of augmentation; only ``crop`` and RandAugment are applied here.
        seed: seeds the random numbers.
    """

    source: ImageFiles
    augment: Augment
    seed: int

    @property
    def remaining(self) -> Augment:
        return replace(self.augment, crop=1.0, randaugment=0)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """A batch for (index, epoch) pairs."""
        # Read the images one by one, and stack them to a batch.
        x = torch.stack([self._read(index, epoch) for index, epoch in indices])
        return x, self.source.targets[torch.tensor([index for index, _ in indices])]

    def _read(self, index: int, epoch: int) -> Tensor:
        """One augmented image: uint8, channels x height x width."""
        # A generator for this image in this epoch; "view" keeps its seed apart from those of batches.
        generator = torch.Generator().manual_seed(seed_from(self.seed, epoch, "view", index))

        def draw(width: int, height: int) -> Box:
            boxes = crop_boxes(1, height, width, min_area=self.augment.crop, generator=generator)
            left, top, box_width, box_height = boxes[0].tolist()
            return left, top, min(left + box_width, width), min(top + box_height, height)

        # Cut the crop out of the file at its full resolution, or read the whole image.
        source = self.source
        if self.augment.crop < 1:
            x = images.read_crop(source.files[index], source.shape, draw, interpolation=source.interpolation)
        else:
            x = source.read(index)
        if not self.augment.randaugment:
            return x

        from zoo.data.torchvision_transforms import rand_augment

        # `rand_augment` takes a batch: make one of a single image.
        operations, magnitude = self.augment.randaugment, self.augment.magnitude
        return rand_augment(x[None], generator, operations=operations, magnitude=magnitude)[0]
