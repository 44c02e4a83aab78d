"""Fixed kernels against SciPy, the Fourier transform and what each kernel is for."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from zoo.models import KERNELS, FixedConv


def image(*shape):
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.double)


def close(actual, expected):
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("padding", "mode"), [(0, "valid"), (1, "same"), (2, "full")])
@pytest.mark.parametrize("name", KERNELS)
def test_equals_scipys_correlation(name, padding, mode):
    x = image(11, 9)
    y = FixedConv(name, padding=padding)(x[None, None])[0, 0]
    close(y, correlate2d(x, KERNELS[name], mode))


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("name", KERNELS)
def test_stride_skips_outputs_and_dilation_spreads_the_taps(name, stride, dilation, padding):
    x = image(13, 10)
    spread = np.zeros((2 * dilation + 1, 2 * dilation + 1))
    spread[::dilation, ::dilation] = KERNELS[name]
    y = FixedConv(name, stride=stride, dilation=dilation, padding=padding)(x[None, None])[0, 0]
    close(y, correlate2d(np.pad(x, padding), spread, "valid")[::stride, ::stride])


@pytest.mark.parametrize("name", KERNELS)
def test_with_the_kernel_flipped_the_convolution_theorem_holds(name):
    x, kernel = image(11, 9), torch.tensor(KERNELS[name]).double()
    full = (11 + 3 - 1, 9 + 3 - 1)
    product = np.fft.fft2(x, full) * np.fft.fft2(kernel, full)
    y = FixedConv(kernel.flip(0, 1), padding=2)(x[None, None])[0, 0]
    close(y, np.fft.ifft2(product).real)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (1, 2, 1), (2, 0, 1), (2, 1, 2), (3, 1, 1)])
@pytest.mark.parametrize("name", KERNELS)
def test_transposed_is_the_adjoint(name, stride, padding, dilation):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    up = FixedConv(name, transposed=True, **options)
    y = image(2, 3, 5, 4)
    x = torch.randn_like(up(y))
    forth = FixedConv(name, **options)(x)
    assert forth.shape == y.shape
    close((forth * y).sum(), (x * up(y)).sum())


def test_transposed_spreads_one_pixel_over_the_kernel():
    pixel = torch.zeros(1, 1, 2, 2)
    pixel[0, 0, 1, 0] = 2
    y = FixedConv("sobel_x", stride=3, transposed=True)(pixel)[0, 0]  # 2x2 -> 6x6
    assert y[3:, :3].tolist() == [[-2, 0, 2], [-4, 0, 4], [-2, 0, 2]]
    assert y.count_nonzero() == 6


@pytest.mark.parametrize("transposed", [False, True])
def test_each_channel_is_convolved_alone(transposed):
    conv, x = FixedConv("sobel_y", padding=1, transposed=transposed), image(2, 3, 8, 7)
    for channel in range(3):
        close(conv(x)[:, channel, None], conv(x[:, channel, None]))


def test_takes_a_kernel_of_ones_own_that_need_not_be_square():
    x, kernel = image(8, 7), image(2, 4)
    close(FixedConv(kernel)(x[None, None])[0, 0], correlate2d(x, kernel, "valid"))


def test_kernels_do_what_their_names_say():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    plane = 2 * rows + 3 * columns  # slopes 2 down and 3 to the right
    inner = plane[1:-1, 1:-1]
    expected = {
        "box": 9 * inner,
        "laplace": 0 * inner,
        "sharpen": inner,
        "sobel_x": 8 * 3 * torch.ones_like(inner),
        "sobel_y": 8 * 2 * torch.ones_like(inner),
        "gaussian": inner,
    }
    assert expected.keys() == KERNELS.keys()
    for name, result in expected.items():
        assert torch.equal(FixedConv(name)(plane[None, None])[0, 0], result), name
    bowl = (rows**2 + columns**2)[None, None]
    assert (FixedConv("laplace")(bowl) == 4).all()  # the sum of both second derivatives


def test_it_has_no_parameters_but_gradients_pass():
    conv = FixedConv("gaussian")
    x = image(1, 1, 3, 3).requires_grad_()
    conv(x).sum().backward()
    assert list(conv.parameters()) == []
    close(x.grad[0, 0], torch.tensor(KERNELS["gaussian"]).double())


def test_unknown_kernel_lists_the_choices():
    with pytest.raises(ValueError, match="'sobol'") as error:
        FixedConv("sobol")
    assert all(name in str(error.value) for name in KERNELS)
