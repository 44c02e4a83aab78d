"""The documentation is correct: its commands and code run; its keys, links, files and folders exist."""

import json
import logging
import re
import shlex
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from documents import (
    HYDRA,
    LANGUAGES,
    NOT_RUN,
    PAGES,
    PRINTING,
    ROOT,
    Session,
    blocks,
    overrides,
    shortened,
    trust_restored,
    without_code,
)
from omegaconf import OmegaConf
from PIL import Image

import zoo
from zoo.config.catalogue import CONF
from zoo.config.compose import compose
from zoo.data import images

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)
MARKDOWN = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "RESULTS.md"))]
BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [command for block in BLOCKS if block.language in ("bash", "console") for command in block.commands()]
# Warnings of Lightning about the short examples of the pages.
LIGHTNING = (
    "LeafSpec",
    "does not have many workers",
    "smaller than the logging interval",
    "You defined a `validation_step`",
    "Be aware that when using `ckpt_path`",
)
EXTRAS = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def zoo_command(command: str) -> str:
    """The zoo command that a command starts directly, by srun or by torchrun; "" if there is none."""
    command = re.sub(r"^(srun|\.venv/bin/\S*)\s+", "", command)
    command = re.sub(r"^torchrun .*-m zoo\.cli\b", "zoo", command)
    return command if command.startswith("zoo ") else ""


def check_composes(command: str) -> None:
    name, arguments = overrides(command)
    if name in HYDRA and "--config-dir" not in command and "--trust" not in command:
        own = [argument for argument in arguments if not argument.startswith("hydra/launcher=submitit")]
        OmegaConf.to_container(compose(name, [a for a in own if not a.startswith("hydra.launcher.")]))


def check_other(command: str) -> None:
    """Check a command of another program: the files, targets and extras that it names must exist."""
    program, *words = shlex.split(command)
    if program == "make":
        assert set(words) <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)), command
    elif program == "pip":
        extras = set(",".join(re.findall(r"\[([\w,]+)\]", command)).split(",")) - {""}
        assert extras <= set(EXTRAS), command
    elif program == "python":
        assert (ROOT / words[0]).is_file(), command
    elif program == "jupyter":
        assert (ROOT / words[-1]).is_dir(), command
    else:
        raise AssertionError(f"{command}: check_other has no check for {program}")


def comparable(output: str) -> list[str]:
    """Lines of output in which numbers, and widths that depend on them, are masked."""
    output = re.sub(r"-?\d[\d.,:_-]*(e-\d+)?", "#", output)
    output = re.sub(r"[━─]+", "─", output)
    # The line of a stage is wrapped, and has fewer epochs in the tests.
    output = re.sub(
        r"^stage .*(\n +.*)*", lambda stage: " ".join(stage[0].replace("epochs", "epoch").split()), output, flags=re.M
    )
    return [re.sub(r" +", " ", line).strip() for line in output.strip().splitlines()]


@pytest.fixture
def quiet_logs():
    """Turn off debug logs: torch.export logs each of its steps, and pytest would store all of them."""
    logging.disable(logging.DEBUG)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def own_trust():
    """Forget the packages that a page trusts."""
    with trust_restored():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
@pytest.mark.usefixtures("quiet_logs", "own_trust")
@pytest.mark.filterwarnings(*(f"ignore:.*{text}" for text in LIGHTNING))
def test_a_page_runs_from_top_to_bottom(page, tmp_path):
    session = Session(tmp_path)
    session.write_inputs(page)
    for block in blocks(page):
        if block.file:
            session.write(block)
        elif block.language == "python":
            if block.text.splitlines()[0] in NOT_RUN:
                compile(block.text, str(block), "exec")
            else:
                session.python(block)
        elif block.language in ("bash", "console"):
            shown = block.outputs() if block.language == "console" else [None] * len(block.commands())
            for command, output in zip(block.commands(), shown, strict=True):
                if command in NOT_RUN or not command.startswith(("zoo ", *PRINTING)):
                    continue
                try:
                    printed = session.command(shortened(command) if command.startswith("zoo ") else command)
                except SystemExit as stop:
                    pytest.fail(f"{block}: {command} ended with status {stop.code}")
                if output is not None:
                    assert comparable(printed) == comparable(output), f"{block}: run make docs-outputs"


@each_page
def test_every_zoo_command_composes_and_other_commands_name_existing_files(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: add the language of the block"
        if block.language in ("bash", "console"):
            for command in block.commands():
                if zoo_command(command):
                    check_composes(zoo_command(command))
                elif not command.startswith(PRINTING):
                    check_other(command)


@each_page
def test_every_command_in_a_sentence_composes(page):
    for command in re.findall(r"`(zoo [a-z]+ [^`]+)`", without_code(page)):
        if not re.search(r"…|\b[A-Z]{2,}\b", command.replace("$", "")):  # no placeholder, such as RUN
            check_composes(command)


@cache
def composed(command, *words):
    return compose(command, list(words))


@each_page
def test_every_key_of_a_table_exists(page):
    command, context = "train", []
    for line in without_code(page).splitlines():
        if line.startswith("## "):
            named = re.fullmatch(r"## zoo (\w+)", line)
            command = named[1] if named and named[1] in HYDRA else "train"
            context = []
        if header := re.match(r"\| (?:key|override)(?: of `(.+?)`)? \|", line):
            context = [header[1]] if header[1] else []
            if header[1] in [f"zoo {name}" for name in HYDRA]:
                command, context = header[1].removeprefix("zoo "), []
        for key in re.findall(r"`([\w./@]+)=`", line.split("|")[1]) if line.startswith("| `") else ():
            if key.startswith("hydra.") or (CONF / key).is_dir():
                continue
            config = composed(command, *context)
            parent, _, last = key.rpartition(".")
            node = OmegaConf.select(config, parent) if parent else config
            assert last in node.keys(), f"{page.name}: no key {key}"  # noqa: SIM118 - "in" finds no mandatory keys
        for override in re.findall(r"`(~[\w.]+|[\w./@]+=\w+)`", line.split("|")[1]) if line.startswith("| `") else ():
            compose(command, [*context, override])


def test_everything_in_not_run_is_on_a_page():
    first_lines = {block.text.splitlines()[0] for block in BLOCKS if block.language == "python"}
    assert set(NOT_RUN) <= {*COMMANDS, *first_lines}
    assert len(NOT_RUN) <= 8


@pytest.mark.parametrize("page", MARKDOWN, ids=[str(page.relative_to(ROOT)) for page in MARKDOWN])
def test_links_are_valid(page):
    text = without_code(page)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if target.startswith(("http", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}"


def test_the_table_of_additions_names_existing_files_and_identifiers():
    """In CONTRIBUTING.md, each file of a row exists, and each identifier of a row is in one of the row's files."""
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Adding anything else")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) >= 15
    for row in rows:
        paths = [ROOT / path for path in re.findall(r"`((?:zoo|conf|docs)/[a-z_0-9/]+\.\w+)`", row)]
        for path in paths:
            assert path.is_file(), f"{path}: {row}"
        text = "".join(path.read_text() for path in paths)
        for name in re.findall(r"`([A-Za-z_]+(?:\.[a-z_]+)?)`", row) if paths else ():
            assert all(word in text for word in name.split(".")), f"{name}: {row}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    assert all(f"]({page.name})" in index for page in (ROOT / "docs").glob("*.md") if page.name != "index.md")


def test_the_layout_in_the_readme_names_every_folder():
    (layout,) = (block.text for block in blocks(ROOT / "README.md") if block.language == "text")
    named = [(len(line) - len(line.lstrip()), line.split()[0].rstrip("/")) for line in layout.splitlines()]
    inside = {name for indent, name in named if indent}
    top = {name for indent, name in named if not indent}
    assert inside == {path.parent.name for path in (ROOT / "zoo").glob("*/__init__.py")}
    assert all((ROOT / name).is_dir() for name in top)
    assert {"zoo", "conf", "checkpoints", "docs", "notebooks", "benchmarks", "examples", "tests"} == top


def test_every_guarantee_names_its_tests():
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| \*\*.+\| (.+) \|$", readme.partition("## Guarantees")[2], re.MULTILINE)
    assert len(rows) >= 10
    for row in rows:
        files = re.findall(r"`(tests/\S+\.py)`", row)
        assert files, row
        assert all((ROOT / file).is_file() for file in files), row


def test_the_readme_lists_every_model():
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("## Models")[2].partition("## ")[0]
    assert set(re.findall(r"`(\w+)`", table)) >= {path.stem for path in (CONF / "model").glob("*.yaml")}


def test_the_readme_counts_the_models_and_those_with_a_checkpoint():
    counts = re.search(r"Of the (\d+) models, (\d+)\s+come with", (ROOT / "README.md").read_text())
    trained = {zoo.info(name).name for name in zoo.list_checkpoints()}
    assert counts is not None
    assert list(map(int, counts.groups())) == [len(zoo.list_models()), len(trained)]


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.png")), ids=lambda path: Path(path).name)
def test_every_figure_is_shown(path):
    names = (f'"{path.relative_to(ROOT)}"', f"({path.relative_to(ROOT)})", f"({path.relative_to(ROOT / 'docs')})")
    assert any(name in page.read_text() for page in MARKDOWN for name in names)


@pytest.mark.parametrize("size", [(474, 500), (500, 333), (640, 137), (224, 224), (256, 299)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_code_without_pytorch_reads_an_image_as_the_net_does(interpolation, size, tmp_path, monkeypatch):
    (block,) = [
        block for block in blocks(ROOT / "docs" / "commands.md") if "onnxruntime.InferenceSession" in block.text
    ]
    preprocess = json.dumps({"shape": [3, 224, 224], "side": 256, "interpolation": interpolation})
    metadata = SimpleNamespace(custom_metadata_map={"classes": '["a", "b"]', "preprocess": preprocess})
    seen = []

    class Session:
        def __init__(self, *_, **__):
            pass

        def get_modelmeta(self):
            return metadata

        def run(self, _, inputs):
            seen.append(inputs["input"])
            return [np.zeros((1, 2))]

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    (tmp_path / "images" / "0").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "images" / "0" / "01.png")
    monkeypatch.chdir(tmp_path)
    exec(block.text, {})
    expected = images.read("images/0/01.png", (3, 224, 224), resize=True, side=256, interpolation=interpolation)
    np.testing.assert_array_equal(seen[0][0], expected)
