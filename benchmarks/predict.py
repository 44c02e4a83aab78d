"""Images per second of ``zoo predict``, of a bare PyTorch loop and of a loop like timm's inference.py.

    python benchmarks/predict.py CHECKPOINT FOLDER_OF_IMAGES [ROUNDS]

All read every image, compute the class probabilities and write a CSV, with the same net and batch size, in turn, in one
process, after one round of each that is not timed. The bare loop decodes as the command does, with the same threads,
but has none of its checks, labels and reports. timm's loop has timm's dataset, transforms and loader with two worker
processes, and does not average over mirror images. Time is that of the clock from the start of the command to its last
line, so loading the checkpoint counts for all.
"""

import csv
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch

from zoo.checkpoints.checkpoint import open_checkpoint
from zoo.cli.main import main
from zoo.cli.predict_inputs import THREADS
from zoo.data import images

BATCH = 32


def command(checkpoint: str, folder: str, output: Path) -> None:
    arguments = [f"checkpoint={checkpoint}", f"input={folder}", f"output={output}", "sheet=false", "overwrite=true"]
    with redirect_stdout(StringIO()):
        main("predict", [*arguments, f"batch_size={BATCH}"])


@torch.inference_mode()
def loop(checkpoint: str, folder: str, output: Path) -> None:
    net, about = open_checkpoint(checkpoint)
    net = net.eval().to(memory_format=torch.channels_last)
    preprocess = about.transforms()
    average = about.task.get("mirror_average", False)
    files = images.find(folder)

    def read(path: Path) -> torch.Tensor:
        return images.read(path, preprocess.shape, resize=True, side=preprocess.side)

    with ThreadPoolExecutor(THREADS) as pool, output.open("w", newline="") as file:
        writer = csv.writer(file)
        waiting = [pool.submit(read, path) for path in files]
        for first in range(0, len(files), BATCH):
            raw = torch.stack([future.result() for future in waiting[first : first + BATCH]])
            p = net(preprocess(raw)).softmax(1)
            if average:
                p = (p + net(preprocess(raw.flip(-1))).softmax(1)) / 2
            writer.writerows(zip(files[first : first + BATCH], p.argmax(1).tolist(), p.amax(1).tolist(), strict=True))


@torch.inference_mode()
def timm_loop(checkpoint: str, folder: str, output: Path) -> None:
    from timm.data import ImageDataset, create_loader

    net, about = open_checkpoint(checkpoint)
    net = net.eval().to(memory_format=torch.channels_last)
    preprocess = about.transforms()
    dataset = ImageDataset(folder)
    loader = create_loader(
        dataset,
        preprocess.shape,
        BATCH,
        use_prefetcher=False,
        mean=preprocess.mean,
        std=preprocess.std,
        num_workers=2,
        crop_pct=0.875,
        persistent_workers=False,
    )
    with output.open("w", newline="") as file:
        writer = csv.writer(file)
        names = iter(dataset.filenames())
        for x, _ in loader:
            p = net(x).softmax(1)
            writer.writerows(zip(names, p.argmax(1).tolist(), p.amax(1).tolist(), strict=False))


if __name__ == "__main__":
    checkpoint, folder = sys.argv[1:3]
    count = len(images.find(folder))
    arms = {"zoo predict": command, "bare loop": loop, "timm's loop": timm_loop}
    rates: dict[str, list[float]] = {name: [] for name in arms}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range((int(sys.argv[3]) if len(sys.argv) > 3 else 5) + 1):
            for name, run in arms.items():
                start = time.perf_counter()
                run(checkpoint, folder, Path(scratch) / "predictions.csv")
                if number:
                    rates[name].append(count / (time.perf_counter() - start))
    for name, values in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates["zoo predict"], values, strict=True)]
        line = (
            f"{name:12}{statistics.median(values):8.1f} images/s; zoo predict / this: {statistics.median(ratios):.3f}"
        )
        print(line)  # noqa: T201
