"""An epoch of LeNet-5 on MNIST, batches of 128.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/lenet5_epoch.py [--rounds N] [--quick]

All train the same net with the same optimizer on the same 55,000 images, and time their second epoch. `zoo train` is
the command line as a user runs it: it validates on 5,000 images, logs, and writes its checkpoint.

- The bare loops work on images normalized before the clock starts, and neither log nor save: one as it is usually
  written; one tuned as `zoo train` is (channels-last memory order, fused AdamW); and the tuned one with validation.
- The usual Lightning module has a DataLoader that converts and normalizes one image at a time; it validates, logs and
  saves.
"""

import tempfile
import time
import warnings
from functools import cache, partial

import epochs
import torch
import torch.nn.functional as F
from epochs import ROOT, Stopwatch
from lightning.pytorch import LightningModule, Trainer
from timing import Benchmark
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, ToTensor

from zoo.data.preprocess import Preprocess
from zoo.data.sources.torchvision_sets import load
from zoo.models import LeNet5

BATCH, LR, EPOCHS = 128, 0.003, 2  # the values of conf/stage/classify.yaml
EVALUATED = 1000  # batch size of the validation
QUICK = 20  # number of batches of an epoch in a rehearsal


@cache
def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalized training images and their labels, then those of the validation split."""
    splits = load(name="MNIST", root=ROOT, validation=5000)
    preprocess = Preprocess.from_data(splits.train.x, standardize=True)
    train, val = splits.train, splits.validation
    return preprocess(train.x), train.y, preprocess(val.x), val.y


def zoo_train(batches: int, batch_size: int = BATCH) -> float:
    """The command line, as a user runs it."""
    arguments = ["model=lenet5", "dataset=mnist", f"epochs={EPOCHS}", "accelerator=cpu"]
    return epochs.last_epoch(*arguments, f"batch_size={batch_size}", f"trainer.limit_train_batches={batches}")


def bare_loop(batches: int, *, tuned: bool = False, validate: bool = False, batch_size: int = BATCH) -> float:
    """The shortest loop that trains: nothing is logged or saved."""
    x, y, x_val, y_val = tensors()
    net = LeNet5().to(memory_format=torch.channels_last if tuned else torch.contiguous_format)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, fused=tuned)
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for batch in torch.randperm(len(x)).split(batch_size)[:batches]:
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if validate:
            with torch.inference_mode():
                logits = torch.cat([net(x) for x in x_val.split(EVALUATED)])  # N x K
                F.cross_entropy(logits, y_val).item(), (logits.argmax(1) == y_val).float().mean().item()
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


def usual_lightning(batches: int, workers: int) -> float:
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
            enable_progress_bar=False,
            limit_train_batches=batches,
        )
        loaders = DataLoader(train, BATCH, shuffle=True, **options), DataLoader(val, EVALUATED, **options)
        trainer.fit(TutorialModule(), *loaders)
    return watch.stamps[-1] - watch.stamps[-2]


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    bench = Benchmark(__doc__)
    batches = QUICK if bench.quick else 430
    tuned = "bare loop, tuned, with validation"
    programs = {
        "zoo train": partial(zoo_train, batches),
        tuned: partial(bare_loop, batches, tuned=True, validate=True),
        "bare loop, tuned": partial(bare_loop, batches, tuned=True),
        "bare loop": partial(bare_loop, batches),
        "usual Lightning, no workers": partial(usual_lightning, batches, 0),
        "usual Lightning, 2 workers": partial(usual_lightning, batches, 2),
    }
    bench.compare("an epoch", programs, goals={tuned: 1.05})
