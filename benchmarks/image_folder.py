"""Images per second on a folder of photographs: loading, training ResNet-18, and both; and the memory of loading.

    python benchmarks/image_folder.py [EPOCHS]

600 JPEGs of 400x300 to 800x600 pixels, random crops of scikit-learn's two photographs, are read at 3x224x224 with a
random crop, by this process and by two workers. ResNet-18 is trained in batches of 32 with SGD, on the accelerator if
there is one; without loading, on one batch in memory. The first epoch, or the first batches, are a warm-up. The
memory is the
resident set size (RSS) of this process and, in total, of its workers after each epoch: it must not grow.
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from zoo.data.augment import Augment
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.sources import image_folder

COUNT, BATCH, SHAPE = 600, 32, (3, 224, 224)
STEPS = 10  # number of timed training steps
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
IMAGENET = Preprocess(SHAPE, 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), side=256)


def make(root: Path) -> None:
    """Write the JPEGs: two classes, one for each photograph."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(COUNT):
        source = photographs[number % 2]
        width = int(rng.integers(400, 801))
        share = rng.uniform(0.5, 1)
        wide, high = share * source.width, share * source.height
        left, top = rng.uniform(0, source.width - wide), rng.uniform(0, source.height - high)
        box = (left, top, left + wide, top + high)
        path = root / ("china", "flower")[number % 2] / f"{number:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        source.resize((width, width * 3 // 4), Image.Resampling.BICUBIC, box=box).save(path, quality=90)


def loader(root: Path, workers: int) -> tuple[DataModule, DataLoader]:
    splits = image_folder.load(root=str(root), shape=SHAPE, validation=0, test=0, check=False)
    data = DataModule(
        splits.with_preprocess(IMAGENET),
        preprocess=IMAGENET,
        augment=Augment(crop=0.25, flip=True),
        batch_size=BATCH,
        workers=workers,
    )
    return data, data.train_dataloader()


class Training:
    """ResNet-18 and its optimizer."""

    def __init__(self):
        self.net = resnet18(num_classes=2).to(DEVICE).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.net(x), y).backward()
        self.optimizer.step()


def resident(pid: int | str = "self") -> float:
    """Resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def load_alone(root: Path, workers: int, epochs: int) -> tuple[float, list[str]]:
    """Images per second over all epochs but the first, and the memory after each epoch."""
    _, batches = loader(root, workers)
    seconds, memory = 0.0, []
    for epoch in range(epochs):
        batches.sampler.set_epoch(epoch)
        start = time.perf_counter()
        iterator = iter(batches)
        for _ in iterator:
            pass
        seconds += (time.perf_counter() - start) * (epoch > 0)
        pids = [worker.pid for worker in getattr(iterator, "_workers", [])]
        memory.append(f"{resident():.0f} + {sum(map(resident, pids)):.0f}")
    return COUNT * (epochs - 1) / seconds, memory


def train_alone() -> float:
    training = Training()
    x = torch.randn(BATCH, *SHAPE, device=DEVICE).contiguous(memory_format=torch.channels_last)
    y = torch.arange(BATCH, device=DEVICE) % 2
    return images_per_second(training, iter([(x, y)] * (STEPS + 2)))


def load_and_train(root: Path, workers: int) -> float:
    data, batches = loader(root, workers)
    ready = (data.on_after_batch_transfer((x.to(DEVICE), y.to(DEVICE)), 0) for x, y in batches)
    return images_per_second(Training(), ready)


def images_per_second(training: Training, batches) -> float:
    """Images per second over `STEPS` steps, after two warm-up steps."""
    for step, (x, y) in enumerate(batches):
        if step == 2:
            start = time.perf_counter()
        training.step(x, y)
        if step == STEPS + 1:
            float(training.net.fc.bias[0])  # waits for the accelerator
            return BATCH * STEPS / (time.perf_counter() - start)
    raise ValueError("too few batches")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        loaded = {workers: load_alone(Path(folder), workers, epochs) for workers in (0, 2)}
        lines = {f"loading, {workers} workers": rate for workers, (rate, _) in loaded.items()}
        lines[f"resnet18 on {DEVICE.type}"] = train_alone()
        lines |= {f"both, {workers} workers": load_and_train(Path(folder), workers) for workers in (0, 2)}
        for name, rate in lines.items():
            print(f"{name:24}{rate:8.0f} images/s")  # noqa: T201
        for workers, (_, memory) in loaded.items():
            print(f"MiB after each epoch, {workers} workers (process + workers): {', '.join(memory)}")  # noqa: T201
