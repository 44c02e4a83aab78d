"""Links between files of the repository, made into links between pages of the documentation site."""

import re
from pathlib import Path
from posixpath import normpath, relpath

REPOSITORY = "https://github.com/reference-zoo/reference-zoo"
ROOT = Path(__file__).parents[2]
# Files at the root of the repository, and the titles of their pages.
DOCUMENTS = {
    "RESULTS.md": "Results",
    "CONTRIBUTING.md": "How it is built",
    "CHANGELOG.md": "Changes",
    "SECURITY.md": "Security",
}
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
ATTRIBUTE = re.compile(r"(?<=\bsrc=\")[^\"]+|(?<=\bhref=\")[^\"]+")  # of HTML tags
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


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
        return ATTRIBUTE.sub(lambda link: address(link[0], source, uri), part)

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


def address(target: str, source: str, uri: str) -> str:
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
