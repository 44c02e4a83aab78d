"""The documentation site: it builds without a warning, its links lead somewhere, and it asks no other host."""

import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# A page of each kind.
KINDS = ("", "start/", "generative/", "models/", "models/rbm/", "checkpoints/rbm-mnist/", "api/models/", "results/")
KINDS += ("notebooks/07_rbm_and_dbn/",)
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


@pytest.fixture(scope="module")
def address(built):
    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(built)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def page(request, address):
    """A page of Chromium that must ask no other host and have no errors."""
    playwright = pytest.importorskip("playwright.sync_api")
    problems = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": request.param, "height": 900})
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("request", lambda asked: None if _is_local(asked.url, address) else problems.append(asked.url))
        opened.on("response", lambda answer: problems.append(answer.url) if answer.status >= 400 else None)
        opened.address = address
        yield opened
        browser.close()
    assert problems == []


def _is_local(url, address):
    return url.startswith((address, "data:", "blob:"))


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_search_finds_pages(page):
    page.goto(page.address)
    # On a phone the field appears after a tap on the magnifying glass.
    is_phone = page.viewport_size["width"] < 900
    page.locator("label.md-header__button[for=__search]" if is_phone else ".md-search__input").click()
    page.keyboard.type("wake-sleep")
    page.wait_for_selector(".md-search-result__item a")
    found = page.locator(".md-search-result__item a").evaluate_all("links => links.map(link => link.href)")
    assert any("/generative/" in link or "/api/tasks/" in link for link in found), found
    # A result leads to its section, where the words are marked.
    page.locator(".md-search-result__item a[href*='/generative/'][href*='#']").click()
    page.wait_for_selector("article mark")
    # A word that is on no page.
    page.goto(f"{page.address}?q=qwertyuiop")
    page.wait_for_function("document.querySelector('.md-search-result__meta').textContent.includes('No matching')")


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_no_page_is_wider_than_the_window(page):
    for kind in KINDS:
        page.goto(page.address + kind)
        width = page.viewport_size["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, kind
        images = page.locator("article img").evaluate_all("all => all.map(i => i.complete && i.naturalWidth > 0)")
        assert all(images), kind


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


def test_the_oldest_and_newest_python_that_run_are_tried(monkeypatch, tmp_path):
    for name, status in {"python3.10": 127, "python3.11": 0, "python3.12": 0, "python3.13": 0}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert distribution.pythons() == [str(tmp_path / "python3.11"), str(tmp_path / "python3.13")]
    monkeypatch.setenv("PATH", "")
    assert distribution.pythons() == [sys.executable]
