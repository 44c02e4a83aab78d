"""How many kernels of the first layer are oriented edges? A Gabor function is fitted to each of them.

    python benchmarks/gabor.py CHECKPOINT [FIGURE.png]

CHECKPOINT is a run folder or file of a net whose first layer has kernels, such as ``conv_dbn_photos``. A Gabor function
is a wave under an elliptic Gaussian,

    g(x, y) = exp(-u² / 2σ_u² - w² / 2σ_w²) cos(2π f u + φ)        u, w: x and y, rotated by θ around the center

and r is its correlation with the kernel. Prints r, the orientation and the phase of each kernel, and the fraction of
kernels with r >= 0.8. The figure has each kernel above its fit.
"""

import sys
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

import zoo
from zoo.config.console import say
from zoo.plots import images
from zoo.protocols import layers_of

Array = NDArray[np.float64]
ENOUGH = 0.8  # minimum r of a kernel that counts as an oriented edge
STARTS = 4  # waves from which a fit begins: those with the highest amplitudes in the kernel's spectrum
GRID = 32  # frequencies in each direction of that spectrum


class Fit(NamedTuple):
    """A Gabor function: its correlation with the kernel, its orientation and phase in degrees, and its values."""

    r: float
    orientation: float
    phase: float
    values: Array


def fit(kernel: Array) -> Fit:
    """The best Gabor function for a square kernel."""
    side = len(kernel)
    kernel = kernel / np.linalg.norm(kernel)
    y, x = np.mgrid[:side, :side].astype(float)

    def solved(p: Array) -> tuple[Array, Array]:
        """The best values with these parameters, and the amplitudes of the cosine and the sine."""
        center_x, center_y, theta, frequency, along, across = p
        u = (x - center_x) * np.cos(theta) + (y - center_y) * np.sin(theta)
        w = (y - center_y) * np.cos(theta) - (x - center_x) * np.sin(theta)
        envelope = np.exp(-((u / along) ** 2) / 2 - (w / across) ** 2 / 2)
        waves = np.stack([envelope * np.cos(2 * np.pi * frequency * u), envelope * np.sin(2 * np.pi * frequency * u)])
        flat = waves.reshape(2, -1).T
        amplitudes = np.linalg.lstsq(flat, kernel.ravel(), rcond=None)[0]
        return (flat @ amplitudes).reshape(side, side), amplitudes

    # Begin at the center of the energy, with the strongest waves of the spectrum.
    energy = kernel**2
    center = [float((energy * axis).sum()) for axis in (x, y)]
    spectrum = np.abs(np.fft.fft2(kernel, (GRID, GRID)))[:, : GRID // 2]
    frequencies = np.fft.fftfreq(GRID)
    best: Array | None = None
    lowest = np.inf
    for place in np.argsort(spectrum, axis=None)[::-1][:STARTS]:
        row, column = np.unravel_index(place, spectrum.shape)
        wave = complex(frequencies[column], frequencies[row])
        start = [*center, np.angle(wave), np.clip(abs(wave), 0.03, 0.45), side / 5, side / 5]
        bounds = ([-2, -2, -7, 0.02, 0.7, 0.7], [side + 1, side + 1, 7, 0.5, side, side])
        found = least_squares(lambda p: (solved(p)[0] - kernel).ravel(), start, bounds=bounds, max_nfev=200)
        if found.cost < lowest:
            best, lowest = found.x, found.cost
    assert best is not None

    values, amplitudes = solved(best)
    r = float(np.corrcoef(values.ravel(), kernel.ravel())[0, 1])
    phase = float(np.degrees(np.arctan2(-amplitudes[1], amplitudes[0])))
    return Fit(r, float(np.degrees(best[2])) % 180, phase % 360, values)


def main(checkpoint: str, figure: str | None = None) -> None:
    """Fit all kernels of a checkpoint and print the result."""
    first = next(iter(layers_of(zoo.load(checkpoint)).values()))
    kernels = first.get_parameter("weight").detach().mean(dim=1).double()  # K x side x side
    fits = [fit(kernel.numpy()) for kernel in kernels]

    say("kernel      r   orientation   phase")
    for number, one in enumerate(fits):
        say(f"{number:6}   {one.r:4.2f}   {one.orientation:11.0f}   {one.phase:5.0f}")
    good = [one for one in fits if one.r >= ENOUGH]
    say(f"{len(good)} of {len(fits)} kernels ({100 * len(good) / len(fits):.0f} %) have r >= {ENOUGH}")
    for name, values, whole in (
        ("orientations", [g.orientation for g in good], 180),
        ("phases", [g.phase for g in good], 360),
    ):
        counts = np.histogram(values, bins=6, range=(0, whole))[0]
        say(f"{name} in six bins of {whole // 6} degrees: {' '.join(map(str, counts))}")
    if figure is not None:
        scaled = kernels / kernels.flatten(1).norm(dim=1).view(-1, 1, 1)
        pairs = torch.stack([scaled, torch.tensor(np.array([one.values for one in fits]))], dim=1)
        images.grid(pairs.flatten(0, 1)[:, None].float(), figure, signed=True, columns=8)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
