"""Try out the distributions: install each into an empty environment and run the commands of the README there.

    python -m zoo.release.distribution dist

Commands that need data or a network that an empty environment lacks are left out.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import zoo

ROOT = Path(__file__).parents[2]
# Commands of a user who has nothing but the wheel: the README's, for the digits dataset and its checkpoint.
COMMANDS = (
    "zoo --version",
    "zoo list",
    "zoo show lenet5",
    "zoo train model=lenet5 dataset=digits epochs=1 progress=false hydra.run.dir=run",
    "zoo evaluate checkpoint=lenet5-digits accelerator=cpu",
    "zoo predict checkpoint=lenet5-mnist input=images output=predictions.csv",
    "zoo embed checkpoint=lenet5-mnist input=images output=features.npz",
    "zoo explain checkpoint=lenet5-mnist input=images output=explained.png",
    "zoo sample checkpoint=dbn_generative-mnist n=10 steps=10 output=samples.png",
    "zoo export checkpoint=lenet5-mnist format=torch_export output=lenet5.pt2",
    "zoo completion bash",
)
BRIEF = 4  # number of these commands that the sdist has to run
OLDEST, NEWEST = 10, 14  # minor versions of Python 3
IMAGES = (
    "import zoo, pathlib; from PIL import Image; pathlib.Path('images').mkdir(); "
    "[Image.fromarray(zoo.dataset('digits').test.x[i, 0].numpy()).save(f'images/{i}.png') for i in range(3)]"
)


def check_versions() -> None:
    """Check that the package, CHANGELOG.md and CITATION.cff name the same version.

    Raises:
        ValueError: they differ.
    """
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    released = [version for version in found if version != "Unreleased"]
    if zoo.__version__ not in released:
        raise ValueError(
            f"CHANGELOG.md has no section [{zoo.__version__}]; give the section of the unreleased changes this name"
        )
    if f"\nversion: {zoo.__version__}\n" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8"):
        raise ValueError(f"CITATION.cff: the version must be {zoo.__version__}, as in zoo/__init__.py")


def pythons() -> list[str]:
    """The oldest and the newest Python on the PATH that the package supports; that of this process if there is none."""
    found = []
    for minor in range(OLDEST, NEWEST + 1):
        command = shutil.which(f"python3.{minor}")
        # A shim of pyenv is there for every version, and fails for those that are not chosen.
        if command and subprocess.run([command, "-c", "import venv"], capture_output=True).returncode == 0:
            found.append(command)
    return list(dict.fromkeys([found[0], found[-1]])) if found else [sys.executable]


def try_out(distribution: Path, python: str, commands: Sequence[str]) -> None:
    """Install a wheel or an sdist into a new environment, away from the repository, and run commands.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        new = folder / "environment" / "bin" / "python"
        # The pinned versions, so that a new release of a dependency does not hide a mistake of ours.
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder / "environment")], check=True)
        words = ["pip", "install", "--quiet", "--python", str(new), str(distribution.resolve())]
        subprocess.run([str(uv), *words, "--constraint", str(ROOT / "constraints.txt")], check=True)
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment["PATH"] = f"{new.parent}{os.pathsep}{environment['PATH']}"
        subprocess.run([str(new), "-c", IMAGES], cwd=folder, env=environment, check=True)
        for command in commands:
            sys.stdout.write(f"$ {command}\n")
            sys.stdout.flush()
            subprocess.run(command.split(), cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    sys.stdout.write(f"{distribution} works in an empty environment of {python}\n")


def main(folder: Path) -> None:
    """Try out the wheel with the oldest and the newest Python, and the sdist, of which the wheel was built, briefly."""
    check_versions()
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    found = pythons()
    for python in found:
        try_out(wheel, python, COMMANDS)
    try_out(sdist, found[-1], COMMANDS[:BRIEF])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
