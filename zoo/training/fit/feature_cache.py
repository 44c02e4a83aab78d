"""Compute the features of a net's fixed lower layers once for a whole fit, instead of in every batch."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo.config import hardware
from zoo.data.augment import Augment
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits
from zoo.data.workers import told_errors
from zoo.protocols import Net, eval_mode, layers_of
from zoo.training.fit.progress import reported
from zoo.training.plan import Plan, StagePlan

LIMIT = 4 * 2**30  # bytes; larger features are not cached, but computed batch by batch


@dataclass(frozen=True)
class PickView(Augment):
    """What remains of mirroring once the features of both views are computed: takes one of the two at random."""

    @property
    def active(self) -> bool:
        return True

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """N x H features, from N x 2H: for each example those of the image or of its mirror image."""
        views = x.reshape(len(x), 2, -1)  # N x 2 x H
        picked = torch.randint(2, (len(x),), generator=generator, device=x.device)  # N
        return views[torch.arange(len(x), device=x.device), picked]


@torch.no_grad()
def cache_features(
    net: nn.Module,
    splits: Splits,
    preprocess: Preprocess,
    *,
    depth: int,
    device: torch.device,
    workers: int = 0,
    mirrored: bool = False,
    progress: str | None = None,
) -> tuple[Splits, Preprocess] | None:
    """The training and validation splits with features in place of inputs, and an identity preprocessing.

    The features are those of layer ``depth`` in evaluation mode: N x H, float32, in the order of the examples.

    Args:
        net: the net whose `encode` computes the features; it is moved to ``device``.
        splits: the data.
        preprocess: the preprocessing from raw values to the net's input.
        depth: number of layers to apply.
        device: device on which the features are computed.
        workers: number of processes that read images.
        mirrored: whether the training split has the features of each image and of its mirror image, N x 2H.
        progress: name for progress reports, which are printed if this takes more than a few seconds; None: no reports.

    Returns:
        The splits, without a test split, and the preprocessing; or None if the features need more than `LIMIT` bytes.
    """
    net = net.to(device)
    assert isinstance(net, Net)

    def features(raw: Tensor, *, views: int = 1) -> Tensor:
        raw = raw.to(device)
        images = [raw, raw.flip(-1)][:views]
        return torch.cat([net.encode(preprocess(x), depth).flatten(1) for x in images], dim=1)  # N x (views · H)

    def encode(examples: Examples, width: int, *, views: int = 1) -> InMemory:
        # A DataModule reads its test split in order, so pass the examples as a test split.
        as_test_split = Splits(examples, None, examples, splits.shape)
        loader = DataModule(as_test_split, preprocess=preprocess, workers=workers).test_dataloader()
        x = torch.empty(len(examples), views * width)
        first = 0
        shown = loader if progress is None else reported(loader, len(loader), f"{progress}: computing features")
        with told_errors():
            for raw, _ in shown:
                x[first : first + len(raw)] = features(raw, views=views)
                first += len(raw)
        return InMemory(x, examples.labels())

    with eval_mode(net):
        # Encode one example to get the number of features, and so the size of all of them.
        width = features(splits.train.batch([0])[0]).shape[1]
        views = 2 if mirrored else 1
        count = views * len(splits.train) + (0 if splits.validation is None else len(splits.validation))
        size = 4 * width * count  # bytes of float32
        if size > LIMIT:
            return None
        train = encode(splits.train, width, views=views)
        validation = None if splits.validation is None else encode(splits.validation, width)

    # The features are preprocessed already, so the new preprocessing is the identity.
    identity = Preprocess.from_data(train.x[:1, :width], standardize=False)
    cached = Splits(
        train, validation, None, (width,), splits.classes, splits.num_targets, multi_label=splits.multi_label
    )
    return cached, identity


def training_features(
    net: nn.Module, stage: StagePlan, plan: Plan, *, key: str, off: str, progress: str | None, mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """The features of the topmost layer for the training examples of a stage: N x H, and their N labels.

    With ``mirrored``, each mirror image is an example, too: 2N x H, and 2N labels.

    Args:
        net: the net.
        stage: the stage, whose training examples are used without augmentation.
        plan: the plan of the run.
        key: the key of the stage that needs the features, and its value if that helps, for the error message.
        off: the value of the key that does without them.
        progress: as in `cache_features`.
        mirrored: whether to add the mirror images.

    Raises:
        ValueError: the features need more than `LIMIT` bytes.
    """
    cached = cache_features(
        net,
        replace(stage.splits, validation=None),
        plan.preprocess,
        depth=len(layers_of(net)),
        device=hardware.device(plan.trainer_kwargs),
        workers=plan.workers,
        mirrored=mirrored,
        progress=progress,
    )
    if cached is None:
        raise ValueError(
            f"model.stages.{stage.name}.{key}: the features of {len(stage.splits.train):,} examples need too much "
            f"memory; set it to {off}"
        )
    train = cached[0].train
    assert isinstance(train, InMemory)
    views = 2 if mirrored else 1
    return train.x.reshape(views * len(train.x), -1), train.y.repeat_interleave(views, dim=0)
