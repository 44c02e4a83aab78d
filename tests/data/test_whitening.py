"""The whitening filter against its formula, and what it makes of images."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage import data

from zoo.cli import export_formats
from zoo.data.preprocess import Preprocess
from zoo.data.whitening import CUTOFF, KERNEL_SIZE, kernel


def spectrum(values):
    """The mean amplitude at each of 15 distances from frequency 0, of square images, N x side x side."""
    f = np.fft.fftfreq(values.shape[-1])
    radius = np.hypot(f[:, None], f)
    amplitude = np.abs(np.fft.fft2(values)).mean(0)
    edges = np.linspace(0.02, 0.32, 16)
    bands = [(low <= radius) & (radius < high) for low, high in pairwise(edges)]
    return np.array([amplitude[band].mean() for band in bands])


def photographs():
    """64 gray parts of three photographs, 64 x 64 pixels, bytes."""
    whole = [data.camera()[:512, :512], data.astronaut()[..., 1], data.rocket()[:426, :640, 1]]
    parts = [x[i : i + 64, j : j + 64] for x in whole for i in range(0, 350, 90) for j in range(0, 350, 90)]
    return torch.tensor(np.array([part for part in parts if part.std() > 20]))[:, None]


def test_the_kernel_has_the_response_of_the_formula_and_leaves_out_constants():
    f = np.fft.fftfreq(64)
    radius = np.hypot(f[:, None], f)
    padded = np.zeros((64, 64))
    padded[:KERNEL_SIZE, :KERNEL_SIZE] = kernel().numpy()
    response = np.abs(np.fft.fft2(padded))
    expected = radius * np.exp(-((radius / CUTOFF) ** 4))
    expected *= np.sqrt((response**2).mean() / (expected**2).mean())
    assert np.abs(response - expected).max() < 0.06 * expected.max()
    assert kernel().sum().abs() < 1e-5
    assert kernel().square().sum().item() == pytest.approx(1, abs=1e-5)


def test_the_spectrum_of_photographs_becomes_flat_and_every_image_has_mean_square_1():
    x = photographs()
    before = spectrum(x[:, 0].numpy().astype(float))
    white = Preprocess.from_data(x, whiten=True)(x)
    after = spectrum(white[:, 0].numpy().astype(float))
    assert before.max() / before.min() > 20
    assert after.max() / after.min() < 4
    torch.testing.assert_close(white.square().mean((1, 2, 3)), torch.ones(len(x)), atol=0.1, rtol=0)
    assert white.mean().abs() < 0.05


def test_brightness_and_contrast_do_not_matter_and_an_image_without_contrast_is_zero():
    x = photographs()[:8].float() / 255
    preprocess = Preprocess((1, 64, 64), 1.0, whitening="1/f")
    torch.testing.assert_close(preprocess(x * 0.5 + 0.3), preprocess(x), atol=0.1, rtol=0.05)
    assert preprocess(torch.full((1, 1, 64, 64), 0.7)).abs().max() < 1e-2
    # Black and white exchanged: the negative.
    inverted = preprocess.seen(x).for_inputs(invert=True)
    torch.testing.assert_close(inverted(1 - x), preprocess(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 9, 5), (1, 28, 28), (2, 1, 1)])
def test_any_size_and_number_of_channels_works_and_one_input_is_as_in_a_batch(shape):
    x = torch.randint(256, (4, *shape), dtype=torch.uint8)
    preprocess = Preprocess.from_data(x, whiten=True)
    batch = preprocess(x)
    assert batch.shape == x.shape
    assert batch.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(preprocess(x[1]), batch[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("format", export_formats.FORMATS)
def test_an_exported_file_whitens(format, tmp_path):
    x = photographs()[:5]
    preprocess = Preprocess.from_data(x, whiten=True)
    net = torch.nn.Conv2d(1, 2, 3).eval()
    path = tmp_path / f"net{export_formats.FORMATS[format].suffix}"
    assert (
        export_formats.export_net(net, (1, 64, 64), path, format=format, tolerance=1e-3, preprocess=preprocess) < 1e-3
    )
    with torch.no_grad():
        torch.testing.assert_close(
            export_formats.FORMATS[format].run(path, x), net(preprocess(x)), atol=1e-3, rtol=1e-3
        )
