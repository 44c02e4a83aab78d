"""A folder of photographs: loading, training ResNet-18, and both at once.

    python benchmarks/image_folder.py [--rounds N] [--quick]

600 JPEG files of 400x300 to 800x600 pixels, random crops of scikit-learn's two photographs, are read at 3x224x224 with
a random crop, by this process and by two workers. ResNet-18 is trained in batches of 32 with SGD, on the accelerator if
there is one; without loading, on one batch in memory. The first epoch of loading and the first steps of training are a
warm-up. The memory is the resident set size (RSS) of this process and, in total, of its workers, after the second and
after the last epoch: it must not grow.
"""

import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from timing import Benchmark
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from zoo.data.augment import Augment
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.sources import image_folder

COUNT, BATCH, SHAPE, EPOCHS = 600, 32, (3, 224, 224), 5
STEPS = 10  # number of timed training steps
QUICK_COUNT, QUICK_BATCH, QUICK = 40, 4, 2  # the last: epochs and steps, in a rehearsal
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
IMAGENET = Preprocess(SHAPE, 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), side=256)


def make(root: Path, count: int, width: int | None = None) -> None:
    """Write JPEG files of two classes, one for each photograph, ``width`` or 400 to 800 pixels wide."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(count):
        source = photographs[number % 2]
        wide = width or int(rng.integers(400, 801))
        # A random part of the photograph, from a half to all of each side.
        share = rng.uniform(0.5, 1)
        across, down = share * source.width, share * source.height
        left, top = rng.uniform(0, source.width - across), rng.uniform(0, source.height - down)
        box = (left, top, left + across, top + down)
        path = root / ("china", "flower")[number % 2] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        source.resize((wide, wide * 3 // 4), Image.Resampling.BICUBIC, box=box).save(path, quality=90)


def loader(root: Path, batch: int, workers: int) -> tuple[DataModule, DataLoader]:
    splits = image_folder.load(root=str(root), shape=SHAPE, validation=0, test=0, check=False)
    data = DataModule(
        splits.with_preprocess(IMAGENET),
        preprocess=IMAGENET,
        augment=Augment(crop=0.25, flip=True),
        batch_size=batch,
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


def load_alone(root: Path, batch: int, workers: int, epochs: int) -> tuple[float, list[float]]:
    """The time for an image without the first epoch, and the memory after each epoch but the first, in MiB."""
    data, batches = loader(root, batch, workers)
    seconds, memory = 0.0, []
    for epoch in range(epochs):
        batches.sampler.set_epoch(epoch)
        start = time.perf_counter()
        iterator = iter(batches)
        for _ in iterator:
            pass
        if epoch:
            seconds += time.perf_counter() - start
            pids = [worker.pid for worker in getattr(iterator, "_workers", [])]
            memory.append(resident() + sum(map(resident, pids)))
    return seconds / (epochs - 1) / len(data.splits.train), memory


def train_alone(steps: int, batch: int) -> float:
    x = torch.randn(batch, *SHAPE, device=DEVICE).contiguous(memory_format=torch.channels_last)
    y = torch.arange(batch, device=DEVICE) % 2
    return time_per_image(Training(), iter([(x, y)] * (steps + 2)), steps)


def load_and_train(root: Path, batch: int, workers: int, steps: int) -> float:
    data, batches = loader(root, batch, workers)
    ready = (data.on_after_batch_transfer((x.to(DEVICE), y.to(DEVICE)), 0) for x, y in batches)
    return time_per_image(Training(), ready, steps)


def time_per_image(training: Training, batches, steps: int) -> float:
    """The time for an image in ``steps`` steps after two warm-up steps."""
    for step, (x, y) in enumerate(batches):
        if step == 2:
            start = time.perf_counter()
        training.step(x, y)
        if step == steps + 1:
            float(training.net.fc.bias[0])  # waits for the accelerator
            return (time.perf_counter() - start) / (len(x) * steps)
    raise ValueError("too few batches")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    bench = Benchmark(__doc__)
    count, batch = (QUICK_COUNT, QUICK_BATCH) if bench.quick else (COUNT, BATCH)
    epochs, steps = (QUICK, QUICK) if bench.quick else (EPOCHS, STEPS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, count)
        memory: dict[int, list[float]] = {}

        def load_only(workers: int) -> float:
            seconds, memory[workers] = load_alone(root, batch, workers, epochs)
            return seconds

        programs = {
            "load and train, 2 workers": partial(load_and_train, root, batch, 2, steps),
            "load and train, no workers": partial(load_and_train, root, batch, 0, steps),
            "train on images in memory": partial(train_alone, steps, batch),
            "load, 2 workers": partial(load_only, 2),
            "load, no workers": partial(load_only, 0),
        }
        bench.compare(f"an image of {count}, on {DEVICE.type}", programs, items=(1, "images"))
        for workers, values in memory.items():
            for name, value in (("after the second epoch", values[0]), ("after the last epoch", values[-1])):
                bench.value(f"memory, {workers} workers", name, value, "MiB")
