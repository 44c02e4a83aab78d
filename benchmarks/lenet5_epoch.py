"""Seconds for an epoch of LeNet-5 on MNIST: `zoo train`, a bare loop over tensors, and the usual Lightning module.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/lenet5_epoch.py [ROUNDS]

All train the same net with the same optimizer and batch size on the same 55,000 images. The programs are timed
alternately, each after a warm-up epoch. `zoo train` also validates, logs, and writes its checkpoint. The bare loops
only train, on images normalized
before the clock starts: one as it is usually written, one with the optimizations of `zoo train` (channels-last memory
order, fused AdamW), so that the second shows the cost of everything but the arithmetic.
Ratios are medians over the rounds of (zoo / other) within a round.
"""

import os
import statistics
import sys
import tempfile
import time
import warnings

import torch
import torch.nn.functional as F
from epochs import Stopwatch, stopwatch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, Subset
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, ToTensor

from zoo.cli.main import main
from zoo.data.preprocess import Preprocess
from zoo.data.sources.torchvision_sets import load
from zoo.models import LeNet5

ROOT = os.environ.get("ZOO_DATA", "data")
BATCH, LR, EPOCHS = 128, 0.003, 2  # the values of conf/stage/classify.yaml


def zoo_train() -> float:
    """The command line, as a user runs it."""
    arguments = ["model=lenet5", "dataset=mnist", f"epochs={EPOCHS}", "accelerator=cpu"]
    with tempfile.TemporaryDirectory() as folder, stopwatch() as stamps:
        main("train", [*arguments, f"hydra.run.dir={folder}"])
    return stamps[-1] - stamps[-2]


def bare_loop(*, tuned: bool = False) -> float:
    """The shortest loop that trains: nothing is validated, logged or saved."""
    train = load(name="MNIST", root=ROOT, validation=5000).train
    x, y = Preprocess.from_data(train.x, standardize=True)(train.x), train.y
    net = LeNet5().to(memory_format=torch.channels_last if tuned else torch.contiguous_format)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, fused=tuned)
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for batch in torch.randperm(len(x)).split(BATCH):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


class TutorialModule(LightningModule):
    """A typical module of a tutorial, which logs the loss and the accuracy."""

    def __init__(self):
        super().__init__()
        self.net = LeNet5()
        self.accuracy = MulticlassAccuracy(10)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=LR)

    def training_step(self, batch, _):
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, _):
        x, y = batch
        self.accuracy(self.net(x), y)
        self.log("val/accuracy", self.accuracy)


def usual_lightning(workers: int) -> float:
    """Lightning with a DataLoader that converts and normalizes one image at a time."""
    images = MNIST(ROOT, transform=Compose([ToTensor(), Normalize(0.1307, 0.3081)]))
    train, val = Subset(images, range(55_000)), Subset(images, range(55_000, 60_000))
    options = {"num_workers": workers, "persistent_workers": workers > 0}
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            callbacks=[watch],
            default_root_dir=folder,
            enable_model_summary=False,
        )
        loaders = DataLoader(train, BATCH, shuffle=True, **options), DataLoader(val, 1000, **options)
        trainer.fit(TutorialModule(), *loaders)
    return watch.stamps[-1] - watch.stamps[-2]


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    contenders = {
        "zoo train": zoo_train,
        "bare loop": bare_loop,
        "bare loop, tuned": lambda: bare_loop(tuned=True),
        "usual, no workers": lambda: usual_lightning(0),
        "usual, 2 workers": lambda: usual_lightning(2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(contender())
    print(f"{'':20}{'seconds an epoch: min, median, max':>36}{'zoo train / this':>20}")  # noqa: T201
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["zoo train"], values, strict=True))
        spread = f"{min(values):.2f}  {statistics.median(values):.2f}  {max(values):.2f}"
        print(f"{name:20}{spread:>36}{ratio:>20.2f}")  # noqa: T201
