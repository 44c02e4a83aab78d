"""Hooks of MkDocs: the pages of the documentation site that are not in ``docs/``.

Models and checkpoints get a page each, written from their YAML, docstring and card. The notebooks are shown with their
outputs. RESULTS.md, CONTRIBUTING.md and the like become pages as well. Links between files of the repository lead to
the pages of these files, or to the source code.
"""

import importlib
import re
from pathlib import Path
from posixpath import normpath
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

import zoo
from zoo.config import catalogue
from zoo.config.catalogue import index, list_checkpoints, list_models, model_config
from zoo.config.targets import class_name
from zoo.release import cards, links, notebooks
from zoo.release.links import DOCUMENTS, ROOT

# The pages of the API: title, and the modules or objects on it; none: all classes and functions of the package.
API = {
    "zoo": ("zoo", ["zoo.api", "zoo.checkpoints.description.CheckpointInfo", "zoo.training.from_python.Result"]),
    "protocols": ("zoo.protocols", []),
    "models": ("zoo.models", []),
    "tasks": ("zoo.tasks", []),
    "data": ("zoo.data", ["zoo.data.splits", "zoo.data.preprocess"]),
    "losses": ("zoo.losses", ["zoo.losses"]),
    "likelihood": ("zoo.likelihood", ["zoo.analysis.likelihood"]),
    "sklearn": ("zoo.sklearn", []),
}
# The notebooks that explain the classes of `zoo.models`.
EXPLAINED = {
    "01_from_pixels_to_digits": ("MLP",),
    "04_convolutional_networks": ("LeNet", "LeNet5", "LeNet1998"),
    "05_inception": ("InceptionSmall", "GoogLeNet"),
    "06_autoencoders": ("StackedAutoencoder",),
    "07_rbm_and_dbn": ("RBM", "DBN"),
    "08_fine_tuning": ("TorchvisionNet", "TimmNet"),
    "09_hierarchical_features": ("ConvRBM", "ConvDBN"),
}
PREPARED = ROOT / "build" / "pages"  # what MkDocs reads, besides docs/
NAMED = re.compile(r"\[[\w/]+\.md\]\((?P<target>[^)\s#]+)")  # a link whose text is the name of a file
MATH = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<inline>[^$]+?)\$(?![\w$])", re.DOTALL)
MERMAID = re.compile(r"<script type=\"module\">(?:(?!</script>).)*?mermaid.*?</script>", re.DOTALL)
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)")


def on_config(config: Any) -> Any:
    """Add the generated pages to the navigation."""
    config.nav += [
        {"Models": ["models/index.md", *({name: f"models/{name}.md"} for name in list_models())]},
        {"Checkpoints": [{name: f"checkpoints/{name}.md"} for name in _cards()]},
        {"Notebooks": ["notebooks/index.md", *({_title(path): f"notebooks/{path.name}"} for path in _notebooks())]},
        {"API": ["api/index.md", *({title: f"api/{page}.md"} for page, (title, _) in API.items())]},
        {"Results": "results.md"},
        {"Project": [{title: file.lower()} for file, title in DOCUMENTS.items() if title != "Results"]},
    ]
    return config


@event_priority(100)  # before the plugin that converts notebooks
def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {
        **{file.lower(): links.relinked((ROOT / file).read_text(), file, file.lower()) for file in DOCUMENTS},
        **{f"models/{name}.md": model_page(name) for name in list_models()},
        **{f"checkpoints/{name}.md": _card(name, path) for name, path in _cards().items()},
        **{f"api/{page}.md": api_page(page) for page in API},
        "models/index.md": models_page(),
        "notebooks/index.md": notebooks_page(),
        "api/index.md": "# API\n\n" + "\n".join(f"- [{title}]({page}.md)" for page, (title, _) in API.items()) + "\n",
    }
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    for path in _notebooks():
        uri = f"notebooks/{path.name}"
        (PREPARED / uri).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(_for_site(notebooks.executed(path.stem), uri), PREPARED / uri)
        files.append(File(uri, str(PREPARED), config.site_dir, config.use_directory_urls))
        figure = path.parent / "gallery" / f"{path.stem}.png"
        files.append(File.generated(config, f"notebooks/gallery/{figure.name}", abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Make the links of a file in ``docs/`` lead to pages, and name pages by their titles."""
    # A page that is alone under its tab needs no list of pages beside it.
    if page.parent is None:
        page.meta["hide"] = ["navigation"]
    is_of_docs = page.file.generated_by is None and page.file.src_uri.endswith(".md")
    if is_of_docs:
        markdown = links.relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)

    def titled(link: re.Match[str]) -> str:
        """A link whose text is the title of the page, in place of the name of its file."""
        uri = normpath(f"{page.file.src_uri.rpartition('/')[0] or '.'}/{link['target']}")
        file = files.get_file_from_path(uri)
        title = file and file.page and file.page.title
        return f"[{title}]({link['target']}" if title else link[0]

    return NAMED.sub(titled, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Remove the script that would load diagrams from another host; no notebook has any."""
    return MERMAID.sub("", output)


def models_page() -> str:
    """The table of all models."""
    # Without the empty table of contents, there is more room.
    lines = ["---", "hide: [toc]", "---", "", "# Models", ""]
    lines += ["| model | description | paper | parameters | checkpoints |", "|---|---|---|---|---|"]
    for name in list_models():
        about = model_config(name)["about"]
        trained = ", ".join(_linked(checkpoint) for checkpoint in _checkpoints(name))
        cells = (f"[{name}]({name}.md)", about["title"], about["paper"], f"{about['parameters']:,}", trained)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def model_page(name: str) -> str:
    """The page of a model: paper, architecture, deviations, results, code."""
    config = model_config(name)
    about = config["about"]
    kind = class_name(config["net"]["_target_"], "model")
    module = getattr(zoo.models, kind).__module__
    file = f"{module.replace('.', '/')}.py"
    yaml = f"conf/model/{name}.yaml"
    source = f"{links.REPOSITORY}/blob/main"
    sections = [
        f"# {name}",
        f"{about['title']}. {about['paper']}.",
        f"{about['parameters']:,} parameters, {_count(about['layers'])} with weights. Code: "
        f"[{file}]({source}/{file}), [{yaml}]({source}/{yaml}).",
        f"```bash\nzoo train model={name}\n```\n\n```python\nnet = zoo.create({name!r})\n```",
        *cards.architecture(kind),
    ]

    # Deviations, and the checkpoints with their test metrics.
    deviations = "\n".join(f"- {deviation}" for deviation in about["deviations"]) or "None."
    sections += ["## Deviations from the paper", deviations]
    if checkpoints := _checkpoints(name):
        rows = ["| checkpoint | test metric |", "|---|---|"]
        for checkpoint in checkpoints:
            metrics = index()[checkpoint]["metric"]
            values = ", ".join(f"{key.removeprefix('test/')} {value:.4f}" for key, value in metrics.items())
            rows.append(f"| {_linked(checkpoint)} | {values} |")
        sections += ["## Results", "\n".join(rows), "All results, with intervals: [Results](../results.md)."]
    for path in _notebooks():
        if kind in EXPLAINED.get(path.stem, ()):
            link = f"(../notebooks/{path.name})"
            figure = f"[![](../notebooks/gallery/{path.stem}.png){{width=420}}]{link}"
            sections += ["## Notebook", f"[{_title(path)}]{link} explains this kind of net.", figure]
    sections += [
        "## API",
        f"[zoo.models.{kind}](../api/models.md#{module}.{kind}): arguments, methods, shapes, errors.",
    ]
    return "\n\n".join(sections) + "\n"


def api_page(page: str) -> str:
    """A page of the API: the docstrings of modules and classes."""
    title, objects = API[page]
    names = list(objects)
    if not names:
        package = importlib.import_module(title)
        found = [getattr(package, name) for name in package.__all__]
        names = [f"{value.__module__}.{value.__name__}" for value in found if callable(value)]
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in names)]) + "\n"


def notebooks_page() -> str:
    """The list of the notebooks, with a figure of each."""
    lines = ["# Notebooks", ""]
    for path in _notebooks():
        lines += [
            f"## [{_title(path)}]({path.name})",
            "",
            f"[![](gallery/{path.stem}.png){{width=420}}]({path.name})",
            "",
        ]
    return "\n".join(lines)


def _for_site(notebook: Any, uri: str) -> Any:
    """A notebook without its install cell, with MathML in place of LaTeX, which would need a script of another host."""
    notebook.cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = BADGE.sub(r"[Open in Colab](\1)", cell.source)
            # MkDocs does not translate the links of a notebook, whose address is a folder.
            text = links.LINK.sub(lambda link: links.address(link[0], uri, uri), text)
            cell.source = MATH.sub(_mathml, text)
    return notebook


def _mathml(match: re.Match[str]) -> str:
    """A formula as MathML on one line."""
    display = "block" if match["block"] else "inline"
    return " ".join(str(convert(match["block"] or match["inline"], display=display)).split())


def _linked(checkpoint: str) -> str:
    """The name of a checkpoint on the page of a model, with a link to its card if it has one."""
    return f"[{checkpoint}](../checkpoints/{checkpoint}.md)" if checkpoint in _cards() else f"`{checkpoint}`"


def _count(layers: int) -> str:
    return "1 layer" if layers == 1 else f"{layers} layers"


def _checkpoints(model: str) -> list[str]:
    """The shipped checkpoints of a model."""
    return [name for name, entry in sorted(index().items()) if entry["model"] == model]


def _cards() -> dict[str, Path]:
    """The cards of the shipped checkpoints, by name."""
    paths = {name: catalogue.CHECKPOINTS / f"{name}.md" for name in list_checkpoints()}
    return {name: path for name, path in paths.items() if path.is_file()}


def _card(name: str, path: Path) -> str:
    """The page of a checkpoint."""
    uri = f"checkpoints/{name}.md"
    return links.relinked(path.read_text(), uri, uri)


def _title(notebook: Path) -> str:
    """The heading of a notebook."""
    return str(nbformat.read(notebook, as_version=4).cells[0].source).partition("\n")[0].lstrip("# ")


def _notebooks() -> list[Path]:
    return sorted(notebooks.SOURCES.glob("*.ipynb"))
