"""Find the image files below a folder: follow links, skip system files and other files, and count what is skipped."""

import os
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from PIL import features

# Files with other suffixes are not read. Pillow reads AVIF only if it was built with it.
SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".tga", ".pcx", ".jp2", *([".avif"] if features.check("avif") else [])),
}
# Images of a type that is not read. They must be converted first, so notes list them separately from other files.
UNREAD_IMAGES = {
    *(
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".svg",
        ".psd",
        ".raw",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".dng",
        ".orf",
        ".rw2",
    ),
    *(".exr", ".hdr", ".dcm", ".nii", ".eps", ".ico", ".npy", ".npz"),
}
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"}

# Folders and files that operating systems and network drives write beside the user's own.
SYSTEM_FOLDERS = {
    *("@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin"),
    *("__macosx", "lost+found", "system volume information", "__pycache__"),
}
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}

NAMES_SHOWN = 3  # maximum number of names that a note lists for each kind


@dataclass
class Found:
    """The result of a scan.

    Attributes:
        files: the image files, sorted.
        skipped: (kind, name) -> number of files that were skipped. The kinds are the keys of `WORDS`.
    """

    files: list[Path] = field(default_factory=list)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)


# Kind of skipped files -> its name in a note, singular and plural.
WORDS = {
    "system folder": ("file in", "files in"),
    "system file": ("system or hidden file", "system or hidden files"),
    "stray": ("image outside the class folders", "images outside the class folders"),
    "unread": ("image of a type that is not read", "images of a type that is not read"),
    "archive": ("archive that is not unpacked", "archives that are not unpacked"),
    "other": ("file that is not an image", "files that are not images"),
    "broken link": ("broken link", "broken links"),
    "link": ("link to a folder that is read already", "links to folders that are read already"),
}


def is_system_folder(name: str) -> bool:
    """Whether a folder is hidden, or written by an operating system or a network drive."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def subfolders(folder: Path) -> dict[str, Path]:
    """The subfolders, name -> path, sorted by name. Links to folders are included, system folders are not."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not is_system_folder(path.name)}


def scan(folder: Path, *, recursive: bool = True) -> Found:
    """Find all image files below a folder, by their suffixes.

    Links to folders are followed. Since links may form loops, no folder is read twice, and no folder that contains
    ``folder`` is read.

    Args:
        folder: where to look.
        recursive: whether to look into subfolders. Without it, subfolders are left out; those of the system are
            counted as skipped.
    """
    # Read real folders before links: of a folder and a link to it, the link is skipped.
    found = Found()
    resolved = folder.resolve()
    read = {_identity(parent) for parent in (resolved, *resolved.parents)}
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        here = folders.popleft() if folders else links.popleft()
        if here != folder:
            identity = _identity(here)
            if identity in read:
                found.skipped["link", here.name] += 1
                continue
            read.add(identity)
        with os.scandir(here) as entries:
            for entry in entries:
                path = here / entry.name
                if not entry.is_dir():
                    _add_file(path, entry, found)
                elif is_system_folder(entry.name):
                    count = sum(len(names) for _, _, names in os.walk(path))
                    found.skipped["system folder", entry.name] += count
                elif recursive:
                    (links if entry.is_symlink() else folders).append(path)
    found.files.sort()
    return found


def holds_images(folder: Path) -> bool:
    """Whether there is any image below a folder."""
    return bool(scan(folder).files)


def note(folder: Path, skipped: Counter[tuple[str, str]]) -> list[str]:
    """A list with one note about all skipped files below a folder; empty if no file was skipped."""
    # Count the files of each kind, and list their names or suffixes.
    texts = []
    for kind, words in WORDS.items():
        names = {name: count for (other, name), count in sorted(skipped.items()) if other == kind and count}
        if not names:
            continue
        count = sum(names.values())
        shown = ", ".join(list(names)[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
        listed = f" {shown}" if kind == "system folder" else f" ({shown})" if shown else ""
        texts.append(f"{count:,} {words[count != 1]}{listed}")
    return [f"skipped below {folder}: {'; '.join(texts)}"] if texts else []


def _add_file(path: Path, entry: "os.DirEntry[str]", found: Found) -> None:
    """Add a file to the images, or count it as skipped."""
    name, suffix = entry.name.casefold(), path.suffix.lower()
    if entry.is_symlink() and not path.exists():
        found.skipped["broken link", entry.name] += 1
    elif name.startswith(".") or name in SYSTEM_FILES:
        found.skipped["system file", entry.name if name in SYSTEM_FILES or len(name) < 12 else ".…"] += 1
    elif suffix in SUFFIXES and entry.is_file():
        found.files.append(path)
    elif suffix in UNREAD_IMAGES:
        found.skipped["unread", suffix] += 1
    elif suffix in ARCHIVES:
        found.skipped["archive", entry.name] += 1
    else:
        found.skipped["other", suffix or "no suffix"] += 1


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
