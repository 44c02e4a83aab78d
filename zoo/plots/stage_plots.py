"""Plots drawn after stages without labels: filters, reconstructions, latent codes, Gibbs chains and samples."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, Splits
from zoo.models import DBN, RBM, ConvDBN, ConvRBM
from zoo.plots import class_entropy, hierarchy, images, latent
from zoo.protocols import Generative, Net, Reconstructing, eval_mode, layers_of

MAX_FILTERS = 100  # number of hidden units whose weights are drawn
MAX_POINTS = 2000  # number of examples on the map of latent codes
MAX_SEARCHED = 200  # number of examples among which the parts are found that excite a feature most
MAX_RECONSTRUCTIONS = 30  # number of examples that are drawn with their reconstructions
COLUMNS = 10  # images in a row
CHAINS = 10  # number of Gibbs chains
CHAIN_STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # number of Gibbs steps after which the chains are drawn
SAMPLES = 100  # number of samples of a net without label units
SAMPLES_PER_CLASS = 10
MAX_SAMPLED_CLASSES = 30  # if there are more classes, only the first ones are sampled
BATCH_SIZE = 100  # number of examples that are encoded at a time
SAMPLE_STEPS = 500  # number of Gibbs steps of a sample


@torch.no_grad()
def draw(net: nn.Module, splits: Splits, preprocess: Preprocess, folder: Path, *, prefix: str, latent_map: str) -> None:
    """Write the plots that the net supports, as PNG files.

    ``PREFIX-filters.png`` (weights of the first layer), ``-reconstructions`` (if the net reconstructs), ``-latent`` (a
    map of latent codes), ``-features`` and, with classes, ``-class-entropy`` (of every layer of a convolutional belief
    network) and, if the net is generative, ``-chains`` (Gibbs chains that start at examples) and ``-samples``. Examples
    come from the validation split, or from the training split if there is none. The random number generator and the
    mode of the net are restored afterwards.

    Args:
        net: the net.
        splits: the data.
        preprocess: the preprocessing from raw values to the input of the net.
        folder: the run folder.
        prefix: first part of the file names.
        latent_map: one of `zoo.plots.latent.LATENT_MAPS`.
    """
    # Preprocess the examples that are drawn as images.
    device = next(net.parameters()).device
    examples = splits.train if splits.validation is None else splits.validation
    raw, y = examples.batch(range(min(MAX_RECONSTRUCTIONS, len(examples))))
    x = preprocess(raw.to(device))  # N x in_shape
    classes = () if splits.multi_label else splits.classes  # a point of the latent-code plot has one color

    # Use a fixed seed and restore the RNG, so that plotting does not affect training.
    with eval_mode(net), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _filters(net, preprocess.shape, folder / f"{prefix}-filters.png")
        if isinstance(net, Reconstructing):
            _reconstructions(net, x, preprocess, folder / f"{prefix}-reconstructions.png")
        if isinstance(net, Net):
            features, labels = _encode(net, examples, preprocess, device)
            path = folder / f"{prefix}-latent.png"
            latent.latent_map(features, labels if classes else [], classes, path, method=latent_map)
        # Chains of convolutional nets are slow on photographs: `zoo sample` draws them.
        if isinstance(net, ConvRBM | ConvDBN):
            rbms = [net] if isinstance(net, ConvRBM) else [net.rbm(k) for k in range(len(net.layers))]
            searched, _ = examples.batch(range(min(MAX_SEARCHED, len(examples))))
            hierarchy.features(rbms, preprocess(searched.to(device)), folder / f"{prefix}-features.png")
            if classes:
                _class_entropy(rbms, examples, preprocess, device, folder / f"{prefix}-class-entropy.png")
            return
        top = _top_rbm(net)
        if isinstance(net, Generative) and top is not None:
            _chains(net, top, x[:CHAINS], y[:CHAINS], preprocess, folder / f"{prefix}-chains.png")
            _samples(net, classes if top.label_units else (), preprocess, folder / f"{prefix}-samples.png")


def _encode(net: Net, examples: Examples, preprocess: Preprocess, device: torch.device) -> tuple[Tensor, list[int]]:
    """The features of the first `MAX_POINTS` examples, N x H, and their N labels."""
    features: list[Tensor] = []
    labels: list[int] = []
    for x, y in _batches(examples, preprocess, device):
        features.append(net.encode(x).cpu())
        labels += y.tolist()
    return torch.cat(features), labels


def _batches(examples: Examples, preprocess: Preprocess, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `MAX_POINTS` examples in batches, preprocessed, since large images may not all fit into memory."""
    count = min(MAX_POINTS, len(examples))
    for start in range(0, count, BATCH_SIZE):
        raw, y = examples.batch(range(start, min(start + BATCH_SIZE, count)))
        yield preprocess(raw.to(device)), y


def _class_entropy(
    rbms: Sequence[ConvRBM], examples: Examples, preprocess: Preprocess, device: torch.device, path: Path
) -> None:
    """How much the features of each layer tell about the class."""
    batches = [(class_entropy.activations(rbms, x), y) for x, y in _batches(examples, preprocess, device)]
    labels = torch.cat([y for _, y in batches])
    of_layers = [torch.cat([layers[k].cpu() for layers, _ in batches]) for k in range(len(rbms))]
    class_entropy.histograms(of_layers, labels, path)


def _top_rbm(net: nn.Module) -> RBM | None:
    """The RBM in which the Gibbs chains of a generative net run: an RBM itself, or the top one of a belief network."""
    top = net.top if isinstance(net, DBN) else net
    return top if isinstance(top, RBM) else None


def _filters(net: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """The weights of the first layer: an image for each hidden unit, without the weights of label units."""
    # A row of the weight matrix has the weights of one hidden unit.
    first_layer = next(iter(layers_of(net).values()))
    weight = first_layer.get_parameter("weight")  # hidden x inputs
    if weight.dim() == 4:  # kernels
        images.grid(weight[:MAX_FILTERS].mean(dim=1, keepdim=True), path, signed=True)
        return
    inputs = torch.Size(shape).numel()
    images.grid(weight[:MAX_FILTERS, :inputs].reshape(-1, *shape), path, signed=True)


def _reconstructions(net: Reconstructing, x: Tensor, preprocess: Preprocess, path: Path) -> None:
    """Rows of examples, each row above its reconstructions."""
    # Whole rows only, unless there are fewer examples than one row holds.
    count = len(x) // COLUMNS * COLUMNS or len(x)
    # Put a row of reconstructions below each row of originals; every tile has a caption.
    tiles: list[Tensor] = []
    names: list[str] = []
    for originals in torch.split(x[: min(count, MAX_RECONSTRUCTIONS)], COLUMNS):
        tiles += [originals, net.reconstruct(originals)]
        names += ["original"] * len(originals) + ["reconstructed"] * len(originals)
    images.grid(preprocess.images(torch.cat(tiles)), path, columns=min(COLUMNS, len(x)), names=names)


def _chains(net: nn.Module, top: RBM, x: Tensor, y: Tensor, preprocess: Preprocess, path: Path) -> None:
    """Gibbs chains that start at examples: one row for each number of steps.

    Args:
        net: a generative net.
        top: the RBM in which the chains run.
        x: the examples, N x in_shape.
        y: their N class numbers, for an RBM with label units.
        preprocess: the preprocessing of x.
        path: the PNG to write.
    """
    assert isinstance(net, Net)
    assert isinstance(net, Generative)
    # The visible units of the top RBM are the features of the layers below it.
    v = top.with_labels(net.encode(x, len(layers_of(net)) - 1), y)  # N x V
    # Generate images from all chains at each number of steps, as pixel means.
    tiles = []
    steps_done = 0
    for steps in CHAIN_STEPS:
        v = top.gibbs(v, steps - steps_done)
        steps_done = steps
        tiles.append(net.generate(v))  # N x in_shape
    names = [str(steps) for steps in CHAIN_STEPS for _ in x]
    images.grid(preprocess.images(torch.cat(tiles)), path, columns=len(x), names=names)


def _samples(net: Generative, classes: tuple[str, ...], preprocess: Preprocess, path: Path) -> None:
    """Samples of chains that start at noise: one row per class, or `SAMPLES` if the net has no label units.

    Of more than `MAX_SAMPLED_CLASSES` classes, the first ones are sampled.
    """
    if not classes:
        images.grid(preprocess.images(net.sample(SAMPLES, SAMPLE_STEPS)), path)
        return
    classes = classes[:MAX_SAMPLED_CLASSES]
    # Clamp the label units, so that each row shows one class.
    labels = torch.arange(len(classes)).repeat_interleave(SAMPLES_PER_CLASS)
    samples = net.sample(len(labels), SAMPLE_STEPS, labels=labels)
    images.grid(preprocess.images(samples), path, names=[classes[k] for k in labels.tolist()])
