"""Who may import whom, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

PACKAGE = Path(zoo.__file__).parent
VERBS = {"train", "evaluate", "predict", "explain", "sample", "export", "listing", "show", "reproduce", "cli"}
OUTSIDE = ("pictures.py", "gallery.py", "features.py", "likelihood.py", "finetune.py", "weights.py", "gradcam.py")
FILES = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, but for typing only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def tops(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("file", [name for name in FILES if name.startswith("models/")])
def test_models_import_torch_only(file):
    modules = imported(FILES[file])
    # MLP.from_npz, when called; TorchvisionNet, when one is made.
    more = {"models/mlp.py": {"numpy"}, "models/resnet.py": {"torchvision"}}
    assert tops(modules) <= {"torch", "zoo"} | more.get(file, set())
    assert all(name.startswith("zoo.models") for name in modules if name.startswith("zoo"))


@pytest.mark.parametrize(
    "file",
    [name for name in FILES if name.startswith(("data/", "tasks/")) or name in OUTSIDE],
)
def test_data_and_tasks_and_pictures_do_not_import_models(file):
    assert not any(name.startswith("zoo.models") for name in imported(FILES[file]))


def test_schedules_import_nothing():
    assert imported(FILES["schedules.py"]) == set()


@pytest.mark.parametrize("file", FILES)
def test_nothing_imports_a_verb(file):
    modules = imported(FILES[file])
    if file.removesuffix(".py") in VERBS - {"cli"}:
        modules -= {"zoo.cli", "zoo.cli.main"}  # `python -m zoo.train` goes through the command line
    assert not {f"zoo.{verb}" for verb in VERBS} & modules


@pytest.mark.parametrize("file", FILES)
def test_only_config_instantiates(file):
    if file not in ("config.py", "schemas.py", "sweep.py"):
        assert not any(name.startswith("hydra") for name in imported(FILES[file]))


@pytest.mark.parametrize("file", FILES)
def test_pickles_are_read_in_one_place_only_and_never_run(file):
    calls = [node for node in ast.walk(ast.parse(FILES[file].read_text())) if isinstance(node, ast.Call)]
    named = [(ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}) for call in calls]
    careless = ("load_from_checkpoint", "pickle.load", "pickle.loads", "joblib.load", "torch.hub.load")
    assert not [name for name, _ in named if name.endswith(careless)]
    for name, options in named:
        if name == "torch.load":
            assert file == "pickled.py"
            assert options["weights_only"] == "True"
        if name in ("np.load", "numpy.load"):
            assert options.get("allow_pickle", "False") == "False"
        if name.endswith("trainer.fit"):
            assert options["weights_only"] == "True"


def test_no_file_is_named_for_no_job():
    assert not {Path(file).stem for file in FILES} & {"utils", "util", "helpers", "helper", "common", "misc", "base"}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_zoo_adds_next_to_nothing_to_import_torch():
    code = "import torch, time; t = time.perf_counter(); import zoo; print(time.perf_counter() - t)"
    assert float(run(code)) < 0.1


def test_zoo_list_imports_neither_torch_nor_hydra_and_answers_at_once():
    code = (
        "import time; t = time.process_time(); import sys; from zoo.cli import main; main('list', []); "
        "print(time.process_time() - t, *{'torch', 'hydra', 'lightning', 'torchvision', 'numpy'} & set(sys.modules))"
    )
    seconds, *heavy = run(code).splitlines()[-1].split()
    assert not heavy
    assert float(seconds) < 0.5


def test_models_load_and_show_need_neither_torchvision_nor_lightning():
    code = (
        "import sys, zoo; zoo.create('lenet5'); zoo.load; from zoo.cli import main; main('show', ['lenet5']); "
        "print(*{'lightning', 'torchvision', 'torchmetrics', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    assert run(code).splitlines()[-1] == ""
