"""The wheel and the source distribution hold all that a command needs, away from the repository."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of both distributions, the wheel built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    words = ["-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_wheel_works_from_an_empty_folder(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    code = (
        "import zoo; print(zoo.__file__);"
        "from zoo.cli.main import main; main('list', []); main('evaluate', ['checkpoint=lenet5-digits'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "empty",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(tmp_path / "site" / "zoo"))
    assert "0.9833" in done.stdout
    assert not list((tmp_path / "empty").iterdir())


def test_the_source_distribution_has_the_tests_and_no_more_than_it_should(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in file.getnames()}
    assert {"pyproject.toml", "README.md", "RESULTS.md", "LICENSE", "conf/train.yaml", "tests/conftest.py"} <= names
    assert "notebooks/00_start_here.ipynb" in names
    assert not any(part in name for name in names for part in ("__pycache__", ".venv", "runs/"))
