"""Hooks of MkDocs: the pages of the documentation site that are not in ``docs/``.

Models and checkpoints get a page each, written from their YAML, docstring and card. The notebooks are shown with their
outputs. RESULTS.md, CONTRIBUTING.md and the like become pages as well. Links between files of the repository lead to
the pages of these files, or to the source code.
"""

import importlib
import re
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

import zoo
from zoo.config import catalogue
from zoo.config.catalogue import index, list_checkpoints, list_models, model_config
from zoo.config.targets import class_name
from zoo.release import cards, notebooks

REPOSITORY = "https://github.com/reference-zoo/reference-zoo"
ROOT = Path(__file__).parents[2]
# Files at the root of the repository, and the titles of their pages.
DOCUMENTS = {
    "RESULTS.md": "Results",
    "CONTRIBUTING.md": "How it is built",
    "CHANGELOG.md": "Changes",
    "SECURITY.md": "Security",
}
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
PREPARED = ROOT / "build" / "pages"  # what MkDocs reads, besides docs/
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
ATTRIBUTE = re.compile(r"(?<=\bsrc=\")[^\"]+|(?<=\bhref=\")[^\"]+")  # of HTML tags
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
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
        **{file.lower(): relinked((ROOT / file).read_text(), file, file.lower()) for file in DOCUMENTS},
        **{f"models/{name}.md": model_page(name) for name in list_models()},
        **{
            f"checkpoints/{name}.md": relinked(path.read_text(), f"checkpoints/{name}.md", f"checkpoints/{name}.md")
            for name, path in _cards().items()
        },
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


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make the links of a file in ``docs/`` lead to pages."""
    is_of_docs = page.file.generated_by is None and page.file.src_uri.endswith(".md")
    return relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri) if is_of_docs else markdown


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Remove the script that would load diagrams from another host; no notebook has any."""
    return MERMAID.sub("", output)


def relinked(text: str, source: str, uri: str) -> str:
    """The text of a Markdown file with links that are valid on the site.

    Args:
        text: its content.
        source: its path in the repository.
        uri: its path on the site.
    """

    def new(link: re.Match[str]) -> str:
        target, hash_sign, anchor = link[0].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return link[0]
        path = normpath(f"{source.rpartition('/')[0] or '.'}/{target}")
        return relative(path, uri) + hash_sign + anchor

    def translated(part: str) -> str:
        part = LINK.sub(new, part)
        return ATTRIBUTE.sub(lambda link: _address(link[0], source, uri), part)

    # Leave code as it is.
    parts = []
    end = 0
    for code in CODE.finditer(text):
        parts += [translated(text[end : code.start()]), code[0]]
        end = code.end()
    parts.append(translated(text[end:]))
    return "".join(parts)


def relative(path: str, uri: str) -> str:
    """The address, as a page links to it, of a file of the repository: its page, or its source code."""
    if path in DOCUMENTS:
        page = path.lower()
    elif path == "README.md":
        page = "index.md"
    elif path.startswith("docs/"):
        page = path.removeprefix("docs/")
    elif path.startswith("notebooks/") or (path.startswith("checkpoints/") and path.endswith(".md")):
        page = path
    else:
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{REPOSITORY}/{kind}/main/{path}"
    return relpath(page, uri.rpartition("/")[0] or ".")


def models_page() -> str:
    """The table of all models."""
    lines = ["# Models", "", "| model | description | paper | parameters | checkpoints |", "|---|---|---|---|---|"]
    for name in list_models():
        about = model_config(name)["about"]
        trained = ", ".join(f"`{checkpoint}`" for checkpoint in _checkpoints(name))
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
    source = f"{REPOSITORY}/blob/main"
    sections = [
        f"# {name}",
        f"{about['title']}. {about['paper']}.",
        f"{about['parameters']:,} parameters, {about['layers']} layers with weights. Code: "
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
            shown = f"[{checkpoint}](../checkpoints/{checkpoint}.md)" if checkpoint in _cards() else checkpoint
            rows.append(f"| {shown} | {values} |")
        sections += ["## Results", "\n".join(rows), "All results, with intervals: [Results](../results.md)."]
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
            text = LINK.sub(lambda link: _address(link[0], uri, uri), text)
            cell.source = MATH.sub(_mathml, text)
    return notebook


def _address(target: str, source: str, uri: str) -> str:
    """The address of a link that MkDocs does not translate: in a notebook, or in an HTML tag.

    Args:
        target: the link.
        source: path in the repository of the file that has it.
        uri: path on the site of that file. A page is a folder there, unless it is called index.
    """
    if re.match(r"#|[a-z]+:", target):
        return target
    page = relative(normpath(f"{source.rpartition('/')[0] or '.'}/{target}"), uri)
    if re.match(r"[a-z]+:", page):
        return page
    up = "" if uri.rpartition("/")[2] == "index.md" else "../"
    return up + re.sub(r"(^|/)index\.md$|\.(md|ipynb)$", "/", page)


def _mathml(match: re.Match[str]) -> str:
    """A formula as MathML on one line."""
    display = "block" if match["block"] else "inline"
    return " ".join(str(convert(match["block"] or match["inline"], display=display)).split())


def _checkpoints(model: str) -> list[str]:
    """The shipped checkpoints of a model."""
    return [name for name, entry in sorted(index().items()) if entry["model"] == model]


def _cards() -> dict[str, Path]:
    """The cards of the shipped checkpoints, by name."""
    paths = {name: catalogue.CHECKPOINTS / f"{name}.md" for name in list_checkpoints()}
    return {name: path for name, path in paths.items() if path.is_file()}


def _title(notebook: Path) -> str:
    """The heading of a notebook."""
    return str(nbformat.read(notebook, as_version=4).cells[0].source).partition("\n")[0].lstrip("# ")


def _notebooks() -> list[Path]:
    return sorted(notebooks.SOURCES.glob("*.ipynb"))
