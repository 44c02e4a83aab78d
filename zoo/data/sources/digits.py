"""The default dataset: 1,797 real handwritten digits that come with scikit-learn, so nothing is downloaded.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998 (CC BY 4.0). The 8x8 images
of 17 gray levels are enlarged to 20x20 and padded to 28x28, the format of MNIST, so that every model runs on them
unchanged.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from zoo.data.splits import InMemory, Splits, hold_out

Array = NDArray[Any]


def load(*, validation: float = 0.1, test: float = 360) -> Splits:
    """1 x 28 x 28 uint8 images of ten classes.

    Args:
        validation: a fraction (< 1) or number of the examples that remain after the test split is held out.
        test: a fraction (< 1) or number of all examples.

    Raises:
        ValueError: a split has an invalid size.
    """
    images, labels = _read()
    # Enlarge to 20x20, then add a border of 4 pixels, as in MNIST.
    small = torch.from_numpy(images).float()[:, None]  # N x 1 x 8 x 8, 0 to 16
    large = F.interpolate(small, size=(20, 20), mode="bicubic", align_corners=False)
    x = F.pad(large * (255 / 16), [4] * 4).round().clamp(0, 255).to(torch.uint8)  # N x 1 x 28 x 28
    y = torch.from_numpy(labels)

    # Hold out the test split first, so that it does not depend on the size of the validation split.
    rest, test_split = hold_out(InMemory(x, y), test, split="test")
    train, validation_split = hold_out(rest, validation)
    return Splits(train, validation_split, test_split, shape=(1, 28, 28), classes=tuple("0123456789"))


def _read() -> tuple[Array, Array]:
    """The images of `sklearn.datasets.load_digits`, N x 8 x 8 from 0 to 16, and their class numbers, N.

    They are read from its file, since the import of scikit-learn would take up to a second.
    """
    found = find_spec("sklearn")
    assert found is not None, "scikit-learn is a dependency"
    assert found.origin is not None
    values = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")  # N x 65
    return values[:, :-1].reshape(-1, 8, 8), values[:, -1].astype(np.int64)
