"""`zoo predict`, a bare PyTorch loop with the same net, decoding and batch size, and a loop like timm's inference.py.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/predict.py [--rounds N] [--quick]

10,000 PNG files of 28x28 pixels through lenet5-mnist, and 1,000 JPEG files of 299x224 pixels through a ResNet-18 at
224x224. All read every image, compute the class probabilities and write a CSV, in one process. The bare loop reads with
the same threads, without the checks, labels and reports of the command. timm's loop, for the ResNet-18, has timm's
dataset, transforms and loader with two worker processes. Loading the checkpoint counts for all.
"""

import csv
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from epochs import ROOT, silent
from image_folder import make
from PIL import Image
from timing import Benchmark, seconds
from timm.data import ImageDataset, create_loader

from zoo.checkpoints.checkpoint import open_checkpoint
from zoo.cli.main import main
from zoo.cli.predict_inputs import THREADS
from zoo.data import images
from zoo.data.sources.torchvision_sets import load

BATCH, PNGS, JPEGS, QUICK = 32, 10_000, 1000, 32
ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}  # device -> the key `accelerator`


def command(checkpoint: str, folder: str, output: Path, device: str) -> None:
    arguments = [f"checkpoint={checkpoint}", f"input={folder}", f"output={output}", "sheet=false", "overwrite=true"]
    with silent():
        main("predict", [*arguments, f"batch_size={BATCH}", f"accelerator={ACCELERATORS[device]}"])


@torch.inference_mode()
def loop(checkpoint: str, folder: str, output: Path, device: str) -> None:
    net, about = open_checkpoint(checkpoint)
    net = net.eval().to(device, memory_format=torch.channels_last)
    preprocess = about.transforms()
    average = about.task.get("mirror_average", False)
    files = images.find(folder)

    def read(path: Path) -> torch.Tensor:
        return images.read(path, preprocess.shape, resize=True, side=preprocess.side)

    with ThreadPoolExecutor(THREADS) as pool, output.open("w", newline="") as file:
        writer = csv.writer(file)
        waiting = [pool.submit(read, path) for path in files]
        for first in range(0, len(files), BATCH):
            raw = torch.stack([future.result() for future in waiting[first : first + BATCH]]).to(device)
            p = net(preprocess(raw)).softmax(1)
            if average:
                p = (p + net(preprocess(raw.flip(-1))).softmax(1)) / 2
            writer.writerows(zip(files[first : first + BATCH], p.argmax(1).tolist(), p.amax(1).tolist(), strict=True))


@torch.inference_mode()
def timm_loop(checkpoint: str, folder: str, output: Path, device: str) -> None:
    net, about = open_checkpoint(checkpoint)
    net = net.eval().to(device, memory_format=torch.channels_last)
    given = about.transforms()
    dataset = ImageDataset(folder)
    loader = create_loader(
        dataset,
        given.shape,
        BATCH,
        use_prefetcher=False,
        mean=given.mean,
        std=given.std,
        num_workers=2,
        crop_pct=0.875,
        persistent_workers=False,
    )
    with output.open("w", newline="") as file:
        writer = csv.writer(file)
        names = iter(dataset.filenames())
        for x, _ in loader:
            p = net(x.to(device)).softmax(1)
            writer.writerows(zip(names, p.argmax(1).tolist(), p.amax(1).tolist(), strict=False))


def pngs(folder: Path, count: int) -> None:
    """Write the first test images of MNIST."""
    folder.mkdir()
    for number, image in enumerate(load(name="MNIST", root=ROOT, validation=0).test.x[:count]):
        Image.fromarray(image[0].numpy()).save(folder / f"{number:05}.png")


def resnet18(photographs: Path, folder: Path) -> None:
    """A run folder with the checkpoint of a ResNet-18 that was trained for one step."""
    limits = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    data = ["dataset=image_folder", f"dataset.root={photographs}", "dataset.size=224", "dataset.workers=0"]
    with silent():
        main("train", ["model=resnet18", *data, *limits, "epochs=1", "batch_size=2", f"hydra.run.dir={folder}"])


def compare(bench: Benchmark, device: str) -> None:
    """Compare the command with the loop on both sets of files."""
    few, many = (QUICK, QUICK) if bench.quick else (JPEGS, PNGS)
    with tempfile.TemporaryDirectory() as scratch:
        # The files and the checkpoint of a ResNet-18.
        folder = Path(scratch)
        pngs(folder / "png", many)
        make(folder / "jpeg", few, width=299)
        resnet18(folder / "jpeg", folder / "run")

        # Both programs run once before they are timed.
        cases = {
            f"{many:,} PNG files, 28x28, LeNet-5": ("lenet5-mnist", folder / "png", many),
            f"{few:,} JPEG files, 299x224, ResNet-18": (folder / "run", folder / "jpeg", few),
        }
        for case, (checkpoint, source, count) in cases.items():
            arguments = (str(checkpoint), str(source), folder / "predictions.csv", device)
            programs = {
                "zoo predict": partial(seconds, partial(command, *arguments)),
                "bare loop": partial(seconds, partial(loop, *arguments)),
            }
            if source.name == "jpeg":
                programs["timm's loop"] = partial(seconds, partial(timm_loop, *arguments))
            for program in () if bench.quick else programs.values():
                program()
            bench.compare(case, programs, goals={"bare loop": 1.05}, items=(count, "images"))


if __name__ == "__main__":
    compare(Benchmark(__doc__), "cpu")
