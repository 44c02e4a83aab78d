"""The wheel and the source distribution hold all that a command needs, away from the repository."""

import ast
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of both distributions, the wheel built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    words = ["-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


# The top level of the repository. hubconf.py and mkdocs.yml are here since torch.hub and MkDocs look for them here.
TOP = {
    *(
        "README.md",
        "RESULTS.md",
        "BENCHMARKS.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "LICENSE",
        "CITATION.cff",
    ),
    *("pyproject.toml", "constraints.txt", "Makefile", "hubconf.py", "mkdocs.yml"),
    *("zoo", "conf", "tests", "docs", "notebooks", "checkpoints", "benchmarks", "examples", "hydra_plugins"),
}


def test_the_top_level_stays_short():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    words = ["git", "-C", str(ROOT), "ls-files"]
    tracked = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {name.partition("/")[0] for name in tracked if not name.startswith(".")} <= TOP


def test_nothing_in_the_wheel_imports_what_is_not():
    """``zoo/release`` is left out, so nothing else may need it; not even a test of imports would notice otherwise."""
    for path in (ROOT / "zoo").rglob("*.py"):
        if path.parent.name != "release":
            names = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if _is_import(node)}
            assert not [name for name in names if "zoo.release" in name or "zoo import release" in name], path


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


@pytest.mark.slow
def test_a_wheel_works_from_an_empty_folder(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
        names = file.namelist()
    assert "zoo/checkpoints/checkpoint.py" in names
    assert not [name for name in names if name.startswith("zoo/release")], "maintainers' tools are for a checkout"
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


@pytest.mark.slow
def test_the_source_distribution_has_the_tests_and_no_more_than_it_should(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in file.getnames()}
    assert {"pyproject.toml", "README.md", "RESULTS.md", "LICENSE", "conf/train.yaml", "tests/conftest.py"} <= names
    assert "notebooks/00_start_here.ipynb" in names
    assert not any(part in name for name in names for part in ("__pycache__", ".venv", "runs/"))


def test_modules_that_pytest_imports_have_names_of_their_own():
    """The folders of the tests are no packages, so two modules of one name cannot be imported in one process."""
    tests = [path.stem for path in (ROOT / "tests").rglob("*.py") if path.stem != "conftest"]
    folders = [path.name for path in (ROOT / "tests").iterdir() if path.is_dir()]
    benchmarks = [path.stem for path in (ROOT / "benchmarks").glob("*.py")]
    assert len(tests) == len(set(tests))
    assert not {*tests, *folders} & set(benchmarks)
