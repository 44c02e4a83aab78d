"""How well does a convolutional belief network complete faces of which the left half is hidden?

    python benchmarks/completion.py CHECKPOINT TRAINING_FOLDER HELD_OUT_FOLDER [FIGURE.png]

CHECKPOINT is a net such as that of ``experiment=conv_dbn-faces``, trained on the images of TRAINING_FOLDER. Prints the
mean squared error of the hidden pixels of the images in HELD_OUT_FOLDER, in units of the variance of the training
pixels, for

- the mean of the training images;
- bottom-up features alone: the reconstruction of the image whose hidden half is blank (the mean gray value), or is that
  of the mean training image;
- joint inference of all layers (`ConvDBN.complete`), and its approximation by means in place of samples.

The figure has a column for each of some images: the image, what the net sees, joint inference, the reconstruction with
the hidden half of the mean image, and the mean image.
"""

import sys

import torch
from torch import Tensor

import zoo
from zoo.config.console import say
from zoo.models import ConvDBN
from zoo.plots import images

STEPS, BURN_IN = 100, 30
SEED = 0
COLUMNS = 12  # number of images in the figure


def read(folder: str, checkpoint: str) -> Tensor:
    """All images of a folder of folders, preprocessed for the checkpoint: N x in_shape."""
    about = zoo.info(checkpoint)
    preprocess = about.transforms()
    splits = zoo.dataset("image_folder", root=folder, shape=list(preprocess.shape), test=0, validation=0)
    raw, _ = splits.train.batch(range(len(splits.train)))
    return preprocess(raw)


def main(checkpoint: str, training_folder: str, held_out_folder: str, figure: str | None = None) -> None:
    """Complete the held-out images and print the errors."""
    net = zoo.load(checkpoint)
    if not isinstance(net, ConvDBN):
        raise SystemExit(f"{checkpoint} is a {type(net).__name__}, not a ConvDBN")
    training, x = read(training_folder, checkpoint), read(held_out_folder, checkpoint)
    mean = training.mean(dim=0).expand_as(x)
    known = torch.ones(x.shape[1:], dtype=torch.bool)  # channels x height x width
    known[..., : x.shape[-1] // 2] = False

    # Fill in the hidden half in each way.
    torch.manual_seed(SEED)
    start = torch.where(known, x, mean)
    with torch.no_grad():
        ways = {
            "mean image": mean,
            "bottom-up, hidden half blank": net.reconstruct(torch.where(known, x, 0.0)),
            "bottom-up, hidden half of the mean image": net.reconstruct(start),
            "joint inference": net.complete(start, known, steps=STEPS, burn_in=BURN_IN),
            "joint inference with means": net.infer(start, known=known, burn_in=BURN_IN, mean_field=True).pixels,
        }

    # The errors of the hidden pixels, and how many images joint inference completes better.
    def errors(way: str) -> Tensor:
        return (ways[way] - x)[:, ~known].square().mean(dim=1)  # N

    joint = errors("joint inference")
    say(f"{len(x)} images, {int((~known).sum())} of {known.numel()} pixels hidden")
    for way in ways:
        found = errors(way)
        say(f"{way:42} {found.mean():.3f}   joint inference is better for {int((joint < found).sum())}")

    if figure is not None:
        chosen = torch.linspace(0, len(x) - 1, COLUMNS).long()
        rows = {
            "image": x,
            "seen": torch.where(known, x, training.min()),
            "joint inference": torch.where(known, x, ways["joint inference"]),
            "bottom-up": torch.where(known, x, ways["bottom-up, hidden half of the mean image"]),
            "mean image": mean,
        }
        tiles = torch.cat([row[chosen] for row in rows.values()])
        names = [name for name in rows for _ in chosen]
        low, high = tiles.min(), tiles.max()
        images.grid((tiles - low) / (high - low), figure, columns=COLUMNS, names=names)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
