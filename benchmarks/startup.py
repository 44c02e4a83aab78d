"""From the command to the first training step, and to the list of models.

    python benchmarks/startup.py [--rounds N] [--quick]

Each program is a process of its own, and ends without the clean-up of the interpreter. `zoo train` on scikit-learn's
digits ends after the first optimizer step of LeNet-5; the imports of its libraries are what any program that uses them
waits for.
"""

import sys
from functools import partial
from statistics import median

from processes import run
from timing import Benchmark

FIRST_STEP = """
import os
from lightning.pytorch import Callback, Trainer
class Stop(Callback):
    def on_train_batch_end(self, *args):
        os._exit(0)
fit = Trainer.fit
def fit_until_first_step(trainer, *args, **kwargs):
    trainer.callbacks.append(Stop())
    fit(trainer, *args, **kwargs)
Trainer.fit = fit_until_first_step
import sys
from zoo.cli.main import main
sys.argv[1:] = ["train", "dataset=digits", "accelerator=cpu", "progress=false"]
main()
raise SystemExit("no step")
"""
IMPORTS = "import os, torch, lightning, torchvision; os._exit(0)"
LIST = "import os, sys; from zoo.cli.main import main; sys.argv[1:] = ['list']; main(); os._exit(0)"
ABOVE_PYTHON = 0.3  # goal of `zoo list`, seconds more than python


def python(code: str) -> float:
    """The time of a process that runs the code."""
    return run([sys.executable, "-c", code]).seconds


if __name__ == "__main__":
    bench = Benchmark(__doc__)
    imports = "import torch, lightning, torchvision"
    programs = {"zoo train": partial(python, FIRST_STEP), imports: partial(python, IMPORTS)}
    bench.compare("command to first step", programs, goals={imports: 1.15})

    nothing = "python -c pass"
    programs = {"zoo list": partial(python, LIST), nothing: partial(python, "import os; os._exit(0)")}
    times = bench.compare("zoo list", programs)
    more = [ours - theirs for ours, theirs in zip(times["zoo list"], times[nothing], strict=True)]
    bench.value("zoo list", "time above python -c pass", median(more), "s", goal=ABOVE_PYTHON)
