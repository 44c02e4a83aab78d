"""What tests of data share."""

import pytest
from PIL import Image
from sklearn.datasets import load_sample_image


@pytest.fixture(scope="session")
def photograph() -> Image.Image:
    """A color photograph, 640 x 427."""
    return Image.fromarray(load_sample_image("china.jpg"))
