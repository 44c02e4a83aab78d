"""Seconds for an epoch of LeNet-5 on MNIST: `zoo train`, a bare loop over tensors, and the usual Lightning module.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/lenet5_epoch.py [ROUNDS]

All fit the same net with the same optimizer and batch size on the same 55,000 images, in turn, each after an
epoch to warm up; `zoo train` also validates, logs, measures and writes its checkpoint. The bare loops only train, on
images normalised before the clock starts: one as it is usually written, one with what makes `zoo train` fast
(channels-last memory order, fused AdamW), so that the second shows the cost of everything around the arithmetic.
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
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, Subset
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, ToTensor

from zoo.cli.main import main
from zoo.data.preprocess import Preprocess
from zoo.data.sources.torchvision_sets import load
from zoo.models import LeNet5
from zoo.training.callbacks import SaveForResume

ROOT = os.environ.get("ZOO_DATA", "data")
BATCH, LR, EPOCHS = 128, 0.003, 2  # those of conf/stage/classify.yaml


def zoo_train() -> float:
    """The command line, as a user runs it."""
    stamps: list[float] = []
    SaveForResume.on_train_epoch_start = lambda *_: stamps.append(time.perf_counter())
    SaveForResume.on_train_end = lambda *_: stamps.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        main(
            "train", ["model=lenet5", "dataset=mnist", f"epochs={EPOCHS}", "accelerator=cpu", f"hydra.run.dir={folder}"]
        )
    return stamps[-1] - stamps[-2]


def bare_loop(*, tuned: bool = False) -> float:
    """The shortest loop that trains: nothing is measured, logged or kept."""
    train = load(name="MNIST", root=ROOT, validation=5000).train
    x, y = Preprocess.fit(train.x, standardize=True)(train.x), train.y
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


class Usual(LightningModule):
    """What a tutorial has: log the loss, keep an accuracy."""

    def __init__(self):
        super().__init__()
        self.net, self.accuracy, self.stamps = LeNet5(), MulticlassAccuracy(10), []

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

    def on_train_epoch_start(self):
        self.stamps.append(time.perf_counter())

    def on_train_end(self):
        self.stamps.append(time.perf_counter())


def usual_lightning(workers: int) -> float:
    """Lightning with a DataLoader that converts and normalises one image at a time."""
    images = MNIST(ROOT, transform=Compose([ToTensor(), Normalize(0.1307, 0.3081)]))
    train, val = Subset(images, range(55_000)), Subset(images, range(55_000, 60_000))
    options = {"num_workers": workers, "persistent_workers": workers > 0}
    task = Usual()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(max_epochs=EPOCHS, accelerator="cpu", default_root_dir=folder, enable_model_summary=False)
        trainer.fit(task, DataLoader(train, BATCH, shuffle=True, **options), DataLoader(val, 1000, **options))
    return task.stamps[-1] - task.stamps[-2]


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
