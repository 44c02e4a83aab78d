"""Who may import whom, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

PACKAGE = Path(zoo.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}


def imported(path: Path, *, types: bool = False) -> set[str]:
    """Modules that a file imports; with ``types`` also those that it imports for annotations only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not types:
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


def room(module: str) -> str:
    """The room of a module: ``zoo.data.splits`` is in data, ``zoo.losses`` is a room of its own."""
    return [*module.split("."), "__init__"][1]


def own(path: Path) -> set[str]:
    """Modules of the zoo that a file imports, also for annotations."""
    names = {str(file.relative_to(PACKAGE.parent).with_suffix("")).replace("/", ".") for file in FILES.values()}
    return {name for name in imported(path, types=True) if name in names or f"{name}.__init__" in names} - {"zoo"}


# Imports point down only: a room may import those of the floors below its own, and itself.
FLOORS = (
    {"protocols", "losses"},
    {"models", "data", "config"},
    {"tasks", "plots", "checkpoints", "analysis"},
    {"report", "demo"},
    {"training", "release"},
    {"api"},
    {"cli", "sklearn"},
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}


@pytest.mark.parametrize("file", [name for name in FILES if name != "__init__.py"])
def test_imports_point_down_only(file):
    here = room("zoo." + file.removesuffix(".py").replace("/", "."))
    above = {name for name in own(FILES[file]) if room(name) != here and FLOOR[room(name)] >= FLOOR[here]}
    assert not above


def test_no_circle():
    """Not even through imports within functions, or for annotations."""
    name_of = {path: "zoo." + file.removesuffix(".py").replace("/", ".") for file, path in FILES.items()}
    arrows = {name: {n for n in own(path) if n in name_of.values()} for path, name in name_of.items()}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for below in arrows.get(name, ()):
                walk(below, (*way, name))
            done.add(name)

    for name in arrows:
        walk(name, ())


def test_no_module_lies_outside_the_rooms():
    assert {file for file in FILES if "/" not in file} == {"__init__.py", "api.py", "losses.py"}
    folders = {path.parent for path in FILES.values()}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_git_ignores_no_folder_of_the_package():
    """The wheel leaves out what .gitignore names, such as folders for runs, also where a package has the name."""
    ignored = [line.rstrip("/") for line in (PACKAGE.parent / ".gitignore").read_text().splitlines()]
    everywhere = {name for name in ignored if not name.startswith(("/", "!"))}
    assert not everywhere & {part for file in FILES for part in Path(file).parts}


@pytest.mark.parametrize("file", [name for name in FILES if name.startswith("models/")])
def test_models_import_torch_only(file):
    more = {"models/torchvision_net.py": {"torchvision"}, "models/timm_net.py": {"timm"}}  # when a net is made
    assert tops(imported(FILES[file])) <= {"torch", "zoo"} | more.get(file, set())


@pytest.mark.parametrize("file", FILES)
def test_only_config_instantiates(file):
    config = ("command_schemas", "compose", "given", "loader", "overrides", "schemas", "search_space")
    hydra_only = [f"config/{name}.py" for name in config]
    if file not in (*hydra_only, "training/sweeps/sweep.py", "training/sweeps/search.py"):
        names = {name for name in imported(FILES[file]) if name.startswith("hydra")}
        assert all(name.startswith("hydra.errors") for name in names), "its exceptions are no way to instantiate"


@pytest.mark.parametrize("file", FILES)
def test_pickles_are_read_in_one_place_only_and_never_run(file):
    calls = [node for node in ast.walk(ast.parse(FILES[file].read_text())) if isinstance(node, ast.Call)]
    named = [(ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}) for call in calls]
    careless = ("load_from_checkpoint", "pickle.load", "pickle.loads", "joblib.load", "torch.hub.load")
    assert not [name for name, _ in named if name.endswith(careless) and name != "safe_pickle.load"]
    for name, options in named:
        if name == "torch.load":
            assert file == "checkpoints/safe_pickle.py"
            assert options["weights_only"] == "True"
        if name in ("np.load", "numpy.load"):
            assert options.get("allow_pickle", "False") == "False"
        if name.endswith("trainer.fit"):
            assert options["weights_only"] == "True"


def test_a_data_module_knows_no_source():
    """Each source answers for itself, through `zoo.data.splits.Examples`."""
    assert not [name for name in own(FILES["data/datamodule.py"]) if name.startswith("zoo.data.sources")]
    assert not own(FILES["data/datamodule.py"]) & {"zoo.data.images", "zoo.data.image_files"}
    importers = [file for file in FILES if any(name.startswith("zoo.data.sources") for name in own(FILES[file]))]
    assert not [file for file in importers if file.startswith("training/") or file.startswith("cli/evaluate/")]


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_short(file):
    assert len(FILES[file].read_text().splitlines()) <= 300


@pytest.mark.parametrize("file", FILES)
def test_nets_and_tasks_are_asked_by_protocol(file):
    """By isinstance with `zoo.protocols`, not by the names of attributes."""
    calls = [node for node in ast.walk(ast.parse(FILES[file].read_text())) if isinstance(node, ast.Call)]
    asked = [ast.unparse(call) for call in calls if ast.unparse(call.func) in ("hasattr", "getattr")]
    assert not [call for call in asked if call.split("(")[1].startswith(("net", "task", "model,", "layer", "self.net"))]


def test_types_are_not_silenced():
    assert not [file for file, path in FILES.items() if "# type: ignore" in path.read_text()]


def test_no_file_is_named_for_no_job():
    assert not {Path(file).stem for file in FILES} & {"utils", "util", "helpers", "helper", "common", "misc", "base"}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_zoo_adds_next_to_nothing_to_import_torch():
    code = "import torch, time; t = time.perf_counter(); import zoo; print(time.perf_counter() - t)"
    assert float(run(code)) < 0.1


def test_zoo_list_imports_neither_torch_nor_hydra_and_answers_at_once():
    code = (
        "import time; t = time.process_time(); import sys; from zoo.cli.main import main; main('list', []); "
        "print(time.process_time() - t, *{'torch', 'hydra', 'lightning', 'torchvision', 'numpy'} & set(sys.modules))"
    )
    seconds, *heavy = run(code).splitlines()[-1].split()
    assert not heavy
    assert float(seconds) < 0.5


def test_garbage_is_collected_after_the_imports_of_a_command():
    code = (
        "import gc, sys; from zoo.cli.main import main; sys.argv[1:] = ['show', 'lenet5']; main(); "
        "print(gc.isenabled())"
    )
    assert run(code).splitlines()[-1] == "True"


def test_models_load_and_show_need_neither_torchvision_nor_lightning_and_digits_no_scikit_learn():
    code = (
        "import sys, zoo; zoo.create('lenet5'); zoo.load; from zoo.data.sources import digits; digits.load(); "
        "from zoo.cli.main import main; main('show', ['lenet5']); "
        "print(*{'lightning', 'torchvision', 'torchmetrics', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    assert run(code).splitlines()[-1] == ""
