"""Images per second of ``zoo predict`` and of a bare PyTorch loop with the same net, decoding and batch size.

    python benchmarks/predict.py CHECKPOINT FOLDER_OF_IMAGES [ROUNDS]

Both read every image, compute the class probabilities and write a CSV, in turn, in one process, after one round of each
that is not timed. The loop reads with the same threads, without the checks, labels and reports of the command. Time is
that of the clock from the start of the command to its last line, so loading the checkpoint counts for both.
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


if __name__ == "__main__":
    checkpoint, folder = sys.argv[1:3]
    count = len(images.find(folder))
    rates: dict[str, list[float]] = {"zoo predict": [], "bare loop": []}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range((int(sys.argv[3]) if len(sys.argv) > 3 else 5) + 1):
            for name, run in (("zoo predict", command), ("bare loop", loop)):
                start = time.perf_counter()
                run(checkpoint, folder, Path(scratch) / "predictions.csv")
                if number:
                    rates[name].append(count / (time.perf_counter() - start))
    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    for name, values in rates.items():
        print(f"{name:12}{statistics.median(values):8.1f} images/s")  # noqa: T201
    print(f"ratio, median of {len(ratios)} rounds: {statistics.median(ratios):.3f}")  # noqa: T201
