"""The MNIST job of Lightning-Hydra-Template: a multi-layer perceptron with batch normalization, batches of 64.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/hydra_template.py [--rounds N] [--quick]

github.com/ashleve/lightning-hydra-template is the usual start of a Hydra and Lightning project. Its example is written
here from scratch, with its hyper-parameters: the 70,000 images divided at random into 55,000, 5,000 and 10,000; a
DataLoader without workers that converts and normalizes one image at a time; Adam with a schedule that follows the
validation loss; mean and best metrics; its four callbacks and a CSV logger. `zoo train` is the command line with the
same net, optimizer, schedule and batch size. Both time their second epoch with validation, logging and checkpoint.
"""

import tempfile
import warnings
from functools import partial

import epochs
import torch
import torch.nn.functional as F
from epochs import ROOT, Stopwatch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichModelSummary, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from timing import Benchmark
from torch.utils.data import ConcatDataset, DataLoader, random_split
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, ToTensor

from zoo.models import MLP

HIDDEN, BATCH, LR, EPOCHS = [64, 128, 64], 64, 0.001, 2
QUICK = 20  # number of batches of an epoch in a rehearsal


def zoo_train(batches: int) -> float:
    """The command line, as a user runs it."""
    return epochs.last_epoch(
        "model=mlp",
        f"model.net.hidden={HIDDEN}".replace(" ", ""),
        "model.net.batch_norm=true",
        "optimizer@model.stages.fit.optimizer=adam",
        "lr_schedule@model.stages.fit.lr_schedule=plateau",
        "dataset=mnist",
        f"batch_size={BATCH}",
        f"lr={LR}",
        f"epochs={EPOCHS}",
        "accelerator=cpu",
        f"trainer.limit_train_batches={batches}",
    )


class MNISTModule(LightningModule):
    """Mean loss and accuracy of training and validation, and the best validation accuracy so far."""

    def __init__(self):
        super().__init__()
        self.net = MLP(hidden=HIDDEN, batch_norm=True)
        self.accuracies = torch.nn.ModuleDict({split: MulticlassAccuracy(10) for split in ("fit", "val")})
        self.losses = torch.nn.ModuleDict({split: MeanMetric() for split in ("fit", "val")})
        self.best = MaxMetric()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=LR)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.1, patience=10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}

    def step(self, batch, split: str):
        """The loss of a batch; the metrics of its epoch are updated and shown."""
        x, y = batch
        logits = self.net(x)  # N x K
        loss = F.cross_entropy(logits, y)
        self.losses[split](loss)
        self.accuracies[split](logits.argmax(1), y)
        shown = {"on_step": False, "on_epoch": True, "prog_bar": True}
        self.log(f"{split}/loss", self.losses[split], **shown)
        self.log(f"{split}/acc", self.accuracies[split], **shown)
        return loss

    def training_step(self, batch, _):
        return self.step(batch, "fit")

    def validation_step(self, batch, _):
        self.step(batch, "val")

    def on_validation_epoch_end(self):
        self.best(self.accuracies["val"].compute())
        self.log("val/acc_best", self.best.compute(), sync_dist=True, prog_bar=True)


def template(batches: int) -> float:
    """The job as the template runs it."""
    transform = Compose([ToTensor(), Normalize((0.1307,), (0.3081,))])
    images = ConcatDataset([MNIST(ROOT, train=train, transform=transform) for train in (True, False)])
    train, val, _ = random_split(images, [55_000, 5_000, 10_000], torch.Generator().manual_seed(42))
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        callbacks = [
            ModelCheckpoint(folder, monitor="val/acc", mode="max", save_last=True, auto_insert_metric_name=False),
            EarlyStopping(monitor="val/acc", mode="max", patience=100),
            RichModelSummary(max_depth=-1),
            RichProgressBar(),
            watch,
        ]
        trainer = Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            callbacks=callbacks,
            logger=CSVLogger(folder),
            default_root_dir=folder,
            limit_train_batches=batches,
        )
        with epochs.silent():
            trainer.fit(MNISTModule(), DataLoader(train, BATCH, shuffle=True), DataLoader(val, BATCH))
    return watch.stamps[-1] - watch.stamps[-2]


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    bench = Benchmark(__doc__)
    batches = QUICK if bench.quick else 860
    programs = {"zoo train": partial(zoo_train, batches), "the template's job": partial(template, batches)}
    bench.compare("an epoch", programs)
