"""Find, shorten and run the code blocks of README.md and docs/.

``python tests/documents.py`` runs every command that is shown with its output, in full, and writes the new output below
it. ``tests/test_docs.py`` runs all blocks, with shortened commands.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from zoo.cli.main import main
from zoo.config import trust
from zoo.config.compose import compose

ROOT = Path(__file__).parents[1]  # the repository
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"bash", "console", "python", "text", "yaml"}  # text: not code
# Take KEY=VALUE.
HYDRA = ("train", "evaluate", "predict", "embed", "explain", "sample", "export", "push", "benchmark", "demo")
PRINTING = ("cat", "head", "ls")  # shell commands that an example may contain
WIDTH = "100"  # width of the terminal, in columns

# Commands, or first lines of Python blocks, that are checked but not run, with the reason. Avoid new entries.
NOT_RUN = {
    "zoo train experiment=label_fractions": "20 runs; tests/training/test_sweep.py runs a short one",
    "zoo train -m seed=1,2,3 hydra/launcher=joblib": "starts processes",
    "zoo train accelerator=ddp_cpu": "starts processes; tests/training/test_processes.py runs it",
    "zoo train accelerator=ddp": "needs several GPUs",
    "zoo train -m seed=1,2,3 hydra/launcher=submitit_slurm hydra.launcher.partition=gpu": "needs SLURM",
    "zoo reproduce lenet5-mnist": "needs MNIST",
    "zoo reproduce lenet5-mnist --train": "needs MNIST and minutes",
    'net = zoo.create("resnet18", num_classes=5, weights="IMAGENET1K_V1")': "downloads 45 MB",
}

# Replacements that make a command fast, or independent of missing files: pattern -> replacement.
SHORTER = {
    r"\bdataset=(mnist|fashion_mnist|kmnist|cifar10)\b": "dataset=digits",
    r"\bepochs=[1-9]\d*": "epochs=1",
    r"\b(experiment=(finetune|linear_probe))\b": r"\1 weights=null dataset.size=32 dataset.workers=0",
    r"^(zoo train .*\bhparams_search=.*)$": r"\1 hydra.sweeper.n_trials=2",
    r"\bdataset=image_folder\b": "dataset=image_folder dataset.workers=0",
    r"^(zoo train\b.*)$": r"\1 progress=false",
    r"^zoo evaluate (checkpoint=\S+-mnist)": r"zoo evaluate \1 dataset=digits",
    r"^zoo evaluate\b": "zoo evaluate chains=4 temperatures=20",
    r"^zoo benchmark\b(?!.*runtimes=)": "zoo benchmark runtimes=[pytorch,onnx]",
    r"^zoo benchmark\b": "zoo benchmark seconds=0.02",
    r"^zoo sample (.*)$": r"zoo sample \1 n=10 steps=10",
    r"^zoo demo\b(.*)$": r"zoo demo\1 port=0",
}


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page."""

    page: Path
    line: int  # line number of the opening fence
    language: str
    text: str
    file: str  # last .py or .yaml file named in the sentence before the block, or ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[str]:
        """The commands of a bash or console block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        words = [shlex.split(line, comments=True) for line in lines]
        return [
            shlex.join(command) if "'" in line else " ".join(command)
            for line, command in zip(lines, words, strict=True)
            if command
        ]

    def outputs(self) -> list[str]:
        """The output that a console block shows below each of its commands."""
        return [shown.partition("\n")[2].strip("\n") for shown in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    found = []
    text = page.read_text()
    for fence in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: fence.start()].rstrip()
        names = re.findall(r"`([\w./]+\.(?:py|yaml))`", before.rpartition("\n\n")[2])
        named = bool(names) and before.endswith(":") and fence[1] in ("python", "yaml")
        file = names[-1] if named else ""
        found.append(Block(page, before.count("\n") + 3, fence[1], fence[2], file))
    return found


def without_code(page: Path) -> str:
    """The text of a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def overrides(command: str) -> tuple[str, list[str]]:
    """The name of a zoo command and its KEY=VALUE arguments, with only the first of several values of a sweep."""
    name, *words = shlex.split(command)[1:]
    arguments = [word for word in words if "=" in word or word.startswith("~")]  # without flags and their values
    if "-m" in words:
        arguments = [re.sub(r"^([\w./@]+=[^,\[]+),.*", r"\1", argument) for argument in arguments]
    return name, arguments


def shortened(command: str) -> str:
    """A faster command with the same keys: replacements of `SHORTER`, one epoch per stage, small layers."""
    for pattern, replacement in SHORTER.items():
        command = re.sub(pattern, replacement, command)
    name, arguments = overrides(command)
    if name != "train" or any(word in command for word in ("--config-dir", "--trust", "resume=")):
        return command
    model = compose("train", arguments).model
    extra = [f"model.stages.{stage}.epochs=1" for stage, config in model.stages.items() if config.epochs > 1]
    hidden = model.net.get("hidden")
    if not any(word.startswith("model.net.hidden=") for word in arguments):
        if isinstance(hidden, int):
            extra.append("model.net.hidden=32")  # more than 25, so that log Z is estimated
        elif hidden is not None and max(hidden, default=0) > 400:
            extra.append(f"model.net.hidden={[16] * len(hidden)}".replace(" ", ""))
    return shlex.join([*shlex.split(command), *extra])


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Change the working directory inside a ``with`` block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def trust_restored() -> Iterator[None]:
    """Forget, after a ``with`` block, the packages that were trusted in it."""
    path = list(sys.path)
    modules = set(sys.modules)
    granted = list(trust._granted)
    variable = os.environ.get(trust.VARIABLE, "")
    try:
        yield
    finally:
        new = set(sys.path) - set(path)
        sys.path[:] = path
        trust._granted[:] = granted
        os.environ[trust.VARIABLE] = variable
        for name in set(sys.modules) - modules:
            if any(str(vars(sys.modules[name]).get("__file__")).startswith(folder) for folder in new):
                del sys.modules[name]


@contextmanager
def served_briefly() -> Iterator[None]:
    """Within the block, ``zoo demo`` ends as soon as it serves its page, as if by Ctrl-C."""
    from zoo.demo.server import Server

    with patch.object(Server, "wait", side_effect=KeyboardInterrupt), patch("webbrowser.open"):
        yield


class Session:
    """Runs one page from top to bottom in its own folder; files and Python names persist between blocks."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.last_start = 0  # seconds since the epoch

    def write_inputs(self, page: Path) -> None:
        """Write the user's files that a page mentions but does not create."""
        rng = np.random.default_rng(0)
        shapes = {"photos": (48, 48, 3), "new_photos": (48, 48, 3), "images": (28, 28)}
        written = "".join(block.text for block in blocks(page) if block.language == "python")
        for folder, shape in shapes.items():
            if f'"{folder}"' in written:
                continue
            for name in ("0", "1"):
                (self.folder / folder / name).mkdir(parents=True)
                for k in range(12):
                    pixels = rng.integers(0, 255, shape, dtype=np.uint8)
                    Image.fromarray(pixels).save(self.folder / folder / name / f"{k}.png")
        (self.folder / "kaggle").mkdir()
        header = ",".join(f"pixel{k}" for k in range(784))
        for file, label in (("train.csv", "label,"), ("test.csv", "")):
            rows = [(f"{k % 10}," if label else "") + ",".join(["0"] * 784) for k in range(400)]
            (self.folder / "kaggle" / file).write_text("\n".join([label + header, *rows]) + "\n")

    def write(self, block: Block) -> None:
        """Write the file that a block contains."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def python(self, block: Block) -> str:
        """Run a Python block and return its output."""
        code = compile(block.text, str(block), "exec")
        with working_in(self.folder), redirect_stdout(StringIO()) as out:
            exec(code, self.names)
        return out.getvalue()

    def command(self, command: str) -> str:
        """Run a command and return its output.

        Raises:
            SystemExit: the command failed.
        """
        program, *words = shlex.split(command)
        if program in PRINTING:
            done = subprocess.run([program, *words], cwd=self.folder, capture_output=True, text=True, check=True)
            return done.stdout
        assert program == "zoo", command
        # Default run folders are named by the second, so two runs must not start in the same one.
        while int(time.time()) == self.last_start:
            time.sleep(0.05)
        self.last_start = int(time.time())
        before = os.environ.get("COLUMNS")
        os.environ["COLUMNS"] = WIDTH
        try:
            brief = served_briefly() if words[0] == "demo" else nullcontext()
            with working_in(self.folder), redirect_stdout(StringIO()) as out, brief:
                main(words[0], words[1:])
        finally:
            os.environ.pop("COLUMNS")
            if before is not None:
                os.environ["COLUMNS"] = before
        return out.getvalue()


def refresh(page: Path) -> None:
    """Run the Python and console blocks of a page and write the output below each command."""
    text = page.read_text()
    with tempfile.TemporaryDirectory() as folder, trust_restored():
        session = Session(Path(folder))
        for block in blocks(page):
            if block.file:
                session.write(block)
            elif block.language == "python" and block.text.splitlines()[0] not in NOT_RUN:
                session.python(block)
            elif block.language == "console":
                shown = []
                for command in block.commands():
                    quiet = f"{command} progress=false" if command.startswith("zoo train") else command
                    lines = [line.rstrip() for line in session.command(quiet).splitlines()]
                    shown += [f"$ {command}", *lines]
                text = text.replace(f"```console\n{block.text}```", "```console\n" + "\n".join(shown) + "\n```")
    page.write_text(text)


if __name__ == "__main__":
    for each in PAGES:
        if any(block.language == "console" for block in blocks(each)):
            sys.stdout.write(f"{each.relative_to(ROOT)}\n")
            refresh(each)
