"""Try out a built wheel: install it into an empty environment and run the commands of the README there.

    python -m zoo.release.distribution dist

Commands that need data or a network that an empty environment lacks are left out.
"""

import os
import re
import subprocess
import sys
import tempfile
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
        raise ValueError(f"CHANGELOG.md has no section [{zoo.__version__}]; name the unreleased changes so")
    if f"\nversion: {zoo.__version__}\n" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8"):
        raise ValueError(f"CITATION.cff: the version must be {zoo.__version__}, as in zoo/__init__.py")


def try_wheel(wheel: Path) -> None:
    """Install a wheel into a new environment, away from the repository, and run `COMMANDS`.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = folder / "environment" / "bin" / "python"
        # The pinned versions, so that a new release of a dependency does not hide a mistake of ours.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "environment")], check=True)
        words = ["pip", "install", "--quiet", "--python", str(python), str(wheel)]
        subprocess.run([str(uv), *words, "--constraint", str(ROOT / "constraints.txt")], check=True)
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
        subprocess.run([str(python), "-c", IMAGES], cwd=folder, env=environment, check=True)
        for command in COMMANDS:
            sys.stdout.write(f"$ {command}\n")
            sys.stdout.flush()
            subprocess.run(command.split(), cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    check_versions()
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    try_wheel(wheel)
    sys.stdout.write(f"{wheel} works in an empty environment\n")
