"""The documentation site: it builds without a warning, its links lead somewhere, and it asks no other host."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from support import ROOT

import zoo
from zoo.release import distribution, links

# The notebooks without outputs: tests/test_notebooks.py runs them.
BUILD = """
import sys, nbformat
from zoo.release import notebooks
notebooks.executed = lambda name: nbformat.read(notebooks.SOURCES / f"{name}.ipynb", as_version=4)
from mkdocs.__main__ import cli
cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The links of a page, what it loads, and the anchors in it."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = {key: value or "" for key, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        is_hint = tag == "link" and given.get("rel") in ("canonical", "prev", "next")
        if LOADED.get(tag) in given and not is_hint:
            self.loaded.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_every_link_leads_somewhere_and_nothing_comes_from_another_host(built):
    pages = {path: Page(path) for path in built.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 80
    for path, page in pages.items():
        for target in (*page.links, *page.loaded):
            if re.match(r"(https?:)?//", target):
                assert target in page.links, f"{path}: loads {target}"
                continue
            file, _, anchor = unquote(target).partition("#")
            if re.match(r"(mailto|data|javascript):", target):
                continue
            found = (path.parent / file).resolve() if file else path
            found = found / "index.html" if found.is_dir() else found
            assert found.is_file(), f"{path}: {target}"
            if anchor and not anchor.startswith("__") and found in pages:
                assert anchor in pages[found].anchors, f"{path}: {target}"
        assert not re.search(r"(import\(|url\()[\"']?https?:", path.read_text()), path


@pytest.mark.slow
def test_every_model_checkpoint_and_notebook_has_a_page(built):
    for name in zoo.list_models():
        assert "Deviations from the paper" in (built / "models" / name / "index.html").read_text()
    assert "dbn_generative-mnist" in {path.parent.name for path in built.glob("checkpoints/*/index.html")}
    first = (built / "notebooks" / "01_from_pixels_to_digits" / "index.html").read_text()
    assert "<math" in first
    assert "pip install" not in first
    assert "Gibbs" in (built / "api" / "models" / "index.html").read_text()


@pytest.mark.parametrize(
    ("target", "uri", "leads_to"),
    [
        ("docs/data.md", "training.md", "data.md"),
        ("docs/data.md", "checkpoints/lenet5-mnist.md", "../data.md"),
        ("RESULTS.md", "checkpoints.md", "results.md"),
        ("README.md", "models/rbm.md", "../index.md"),
        ("notebooks/00_start_here.ipynb", "index.md", "notebooks/00_start_here.ipynb"),
        ("examples/own_model", "own_code.md", f"{links.REPOSITORY}/tree/main/examples/own_model"),
        ("conf/model/rbm.yaml", "index.md", f"{links.REPOSITORY}/blob/main/conf/model/rbm.yaml"),
    ],
)
def test_files_of_the_repository_become_pages_or_source_code(target, uri, leads_to):
    assert links.relative(target, uri) == leads_to


def test_links_in_code_are_left_alone():
    text = "[a](../RESULTS.md#x) `[b](../RESULTS.md)`\n```text\n[c](../RESULTS.md)\n```\n"
    expected = "[a](results.md#x) `[b](../RESULTS.md)`\n```text\n[c](../RESULTS.md)\n```\n"
    assert links.relinked(text, "docs/data.md", "data.md") == expected


def test_addresses_in_html_lead_out_of_the_folder_that_a_page_becomes():
    text = '<img src="docs/images/results.png"><a href="docs/data.md">data</a>'
    expected = '<img src="../images/results.png"><a href="../data/">data</a>'
    assert links.relinked(text, "RESULTS.md", "results.md") == expected
    assert links.relinked('<img src="images/a.png">', "docs/index.md", "index.md") == '<img src="images/a.png">'
    assert links.address("../docs/data.md", "notebooks/a.ipynb", "notebooks/a.ipynb") == "../../data/"


def test_the_version_is_the_same_everywhere(monkeypatch):
    distribution.check_versions()
    monkeypatch.setattr(zoo, "__version__", "9.9")
    with pytest.raises(ValueError, match=r"no section \[9\.9\]"):
        distribution.check_versions()
