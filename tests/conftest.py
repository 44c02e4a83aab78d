"""What tests share: the command line run in this process, small data on disk, and where the real MNIST is."""

import os
from pathlib import Path

# Before torch is imported. The nets here are tiny; threads that wait for each other only cost, on a busy machine most.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"

import numpy as np
import pytest
from PIL import Image
from support import Outcome

from zoo.cli.main import main


@pytest.fixture
def cli(capsys):
    """``zoo("train", "model=mlp")`` runs the command line here and gives an `Outcome`."""

    def run(verb: str, *words: str) -> Outcome:
        capsys.readouterr()
        status = 0
        try:
            main(verb, words)
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of one short run of lenet5 on digits."""
    run = tmp_path_factory.mktemp("trained") / "run"
    main("train", ["model=lenet5", "dataset=digits", "epochs=3", "progress=false", f"hydra.run.dir={run}"])
    return run


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of two classes, ten grey pictures of 28x28 pixels each: bright above, and bright below."""
    rng = np.random.default_rng(0)
    for name, rows in (("above", slice(0, 14)), ("below", slice(14, 28))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 60, (28, 28), dtype=np.uint8)
            pixels[rows] += 180
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


@pytest.fixture(scope="session")
def mnist_root() -> str:
    """The folder with the real MNIST; skips where there is none."""
    root = os.environ.get("ZOO_DATA", "data")
    if not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("no MNIST under $ZOO_DATA")
    return str(Path(root).resolve())


def pytest_terminal_summary(terminalreporter):
    """Print how many cases the tests of ``tests/fuzz`` have run."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    for report in reports:
        for key, value in getattr(report, "user_properties", ()):
            if key == "fuzz":
                terminalreporter.write_line("{}: {} cases, {} of them refused".format(*value))
