"""Training and prediction on a GPU.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/gpu.py [--rounds N] [--minutes M] [--quick]
    DEVICE=cpu ZOO_DATA=FOLDER_OF_MNIST python benchmarks/gpu.py --quick     # the same code without a GPU

Appends a section with the name of the card to BENCHMARKS.md; a rehearsal (--quick) to runs/benchmarks/BENCHMARKS.md.

- LeNet-5 on MNIST, `EPOCHS` epochs that reach 99 % validation accuracy. The time begins after the first optimizer step,
  so it has no imports, no loading of data and no compilation; the first step is reported apart. It includes validation,
  logging and checkpoints. The bare loops have all images on the GPU and only train; one replays a CUDA graph.
- An epoch of CD-1, 784-500, batches of 100, against its five matrix products and a loop that computes in place.
- Fine-tuning ResNet-18 at 3x224x224 in mixed precision (bfloat16), with images as bytes in memory: `zoo train`, and
  timm's net and optimizer in the loop of timm's script (channels-last, automatic mixed precision, normalization on the
  GPU). Neither augments.
- `zoo predict` as in predict.py.
"""

import json
import os
import tempfile
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import bench_page
import epochs
import lenet5_epoch
import numpy as np
import predict
import rbm_epoch
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from timing import Benchmark, seconds, synchronize

from zoo.checkpoints.provenance import hardware_name
from zoo.cli.main import main
from zoo.models import LeNet5

DEVICE = os.environ.get("DEVICE", "cuda")
ACCELERATOR = predict.ACCELERATORS[DEVICE]
ROOT = Path(__file__).parents[1]
EPOCHS, BATCH, LR = 5, 256, 0.006  # LeNet-5
PHOTOS, PHOTO_BATCH = 2048, 64  # ResNet-18


class AfterFirstStep(Callback):
    """Times the first step of a fit, and the rest of it."""

    def on_train_start(self, *_) -> None:
        synchronize()
        self.start = perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *_) -> None:
        if trainer.global_step == 1:
            synchronize()
            self.first = perf_counter()

    def on_train_end(self, *_) -> None:
        synchronize()
        self.end = perf_counter()


def lenet5(batches: int, count: int, found: dict[str, list[float]], *overrides: str) -> float:
    """`zoo train` for ``count`` epochs; keeps the accuracies and the time of the first step in ``found``."""
    watch = AfterFirstStep()
    arguments = ["model=lenet5", "dataset=mnist", f"epochs={count}", f"batch_size={BATCH}", f"lr={LR}"]
    arguments += [f"accelerator={ACCELERATOR}", f"trainer.limit_train_batches={batches}", *overrides]
    with tempfile.TemporaryDirectory() as folder, epochs.silent(), epochs.watched_by(watch):
        main("train", [*arguments, f"hydra.run.dir={folder}/run"])
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    for split in ("val", "test"):
        found.setdefault(split, []).append(metrics[f"{split}/accuracy"])
    found.setdefault("first step", []).append(watch.first - watch.start)
    return watch.end - watch.first


def bare_lenet5(batches: int, count: int, *, graph: bool) -> float:
    """The training alone, with all images on the device; with ``graph``, every step replays a CUDA graph."""
    x, y = (tensor.to(DEVICE) for tensor in lenet5_epoch.tensors()[:2])
    net = LeNet5().to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, fused=True, capturable=graph)
    x_batch, y_batch = x[:BATCH].clone(), y[:BATCH].clone()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x_batch), y_batch).backward()
        optimizer.step()

    # Three steps on a side stream before the capture, as PyTorch's documentation of CUDA graphs asks for.
    replay = step
    if graph:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            step()
        replay = captured.replay

    def train() -> None:
        for _ in range(count):
            for picked in torch.randperm(len(x), device=DEVICE)[: batches * BATCH].view(batches, BATCH):
                x_batch.copy_(x[picked])
                y_batch.copy_(y[picked])
                replay()

    return seconds(train)


def on_device(run, *arguments, **options) -> float:
    """A program of rbm_epoch.py, whose tensors are on PyTorch's default device."""
    with torch.device(DEVICE):
        return run(*arguments, **options)


def resnet18(photos: Path) -> float:
    """The second epoch of `zoo train`."""
    data = ["dataset=npz", f"dataset.root={photos}", "dataset.validation=0", "dataset.test=0"]
    stage = ["stage@model.stages.fit=finetune", f"batch_size={PHOTO_BATCH}", "epochs=2"]
    mixed = [f"accelerator={ACCELERATOR}", "accelerator.precision=bf16-mixed"]
    return epochs.last_epoch("model=resnet18", *data, *stage, *mixed)


def timm_resnet18(photos: Path) -> float:
    """The second epoch of timm's recipe."""
    import timm
    from timm.optim import create_optimizer_v2

    arrays = np.load(photos)
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    if DEVICE == "cuda":
        x, y = x.pin_memory(), y.pin_memory()
    net = timm.create_model("resnet18", num_classes=10).to(DEVICE, memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(net, opt="sgd", lr=0.01, weight_decay=2e-5, momentum=0.9)
    mean, std = (
        torch.tensor(v, device=DEVICE).view(1, 3, 1, 1) * 255 for v in (net.default_cfg["mean"], net.default_cfg["std"])
    )

    def epoch() -> None:
        for picked in torch.randperm(len(x)).split(PHOTO_BATCH):
            images = x[picked].to(DEVICE, non_blocking=True).float().sub(mean).div(std)
            with torch.autocast(DEVICE, torch.bfloat16):
                loss = F.cross_entropy(net(images.contiguous(memory_format=torch.channels_last)), y[picked].to(DEVICE))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return [seconds(epoch) for _ in range(2)][-1]


def compare_lenet5(bench: Benchmark) -> None:
    batches, count = (5, 1) if bench.quick else (214, EPOCHS)
    found: dict[str, dict[str, list[float]]] = {}
    variants = {"zoo train": [], "zoo train, bfloat16": ["accelerator.precision=bf16-mixed"]}
    variants["zoo train, compiled"] = ["trainer.compile=true"]
    programs = {
        name: partial(lenet5, batches, count, found.setdefault(name, {}), *words) for name, words in variants.items()
    }
    programs["bare loop"] = partial(bare_lenet5, batches, count, graph=False)
    if DEVICE == "cuda":
        programs["bare loop, CUDA graph"] = partial(bare_lenet5, batches, count, graph=True)
    case = f"LeNet-5, MNIST, {count} epochs"
    bench.compare(case, programs)
    for name, values in found.items():
        for split in ("val", "test"):
            bench.value(f"{case}, {name}", f"lowest {split}/accuracy", 100 * min(values[split]), "%")
        bench.value(f"{case}, {name}", "shortest first step", min(values["first step"]), "s")


def compare_rbm(bench: Benchmark) -> None:
    batches = 20 if bench.quick else 600
    programs = {
        "zoo train": partial(rbm_epoch.zoo_train, batches, accelerator=ACCELERATOR),
        "five matrix products": partial(on_device, rbm_epoch.products, batches, persistent=False),
        "by hand, in place": partial(on_device, rbm_epoch.by_hand, batches),
    }
    bench.compare("CD-1, MNIST, an epoch", programs, items=(batches * rbm_epoch.BATCH, "images"))


def compare_resnet18(bench: Benchmark) -> None:
    count, side = (2 * PHOTO_BATCH, 32) if bench.quick else (PHOTOS, 224)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photos.npz"
        x = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
        np.savez(path, x=x, y=np.arange(count) % 10)
        programs = {"zoo train": partial(resnet18, path)}
        case = f"ResNet-18, 3x{side}x{side}, bfloat16, an epoch"
        if find_spec("timm"):
            programs["timm"] = partial(timm_resnet18, path)
        else:
            bench.skip(case, "timm", "it is not installed")
        bench.compare(case, programs, items=(count, "images"))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    # The results go to a file first, from which the page is written.
    with tempfile.TemporaryDirectory() as folder:
        bench = Benchmark(__doc__, jsonl=Path(folder) / "results.jsonl")
        if DEVICE == "cuda" and not torch.cuda.is_available():
            raise SystemExit("no GPU found; DEVICE=cpu and --quick rehearse without one")
        for compare in (compare_lenet5, compare_rbm, compare_resnet18):
            compare(bench)
        predict.compare(bench, DEVICE)
        records = [json.loads(line) for line in bench.jsonl.read_text().splitlines()]

    device = torch.device(DEVICE)
    page = (ROOT / "runs" / "benchmarks" if bench.quick else ROOT) / "BENCHMARKS.md"
    bench_page.write(page, f"GPU: {hardware_name(device)}" if DEVICE == "cuda" else "GPU rehearsal", records, device)
    print(f"\nwrote {page}")
