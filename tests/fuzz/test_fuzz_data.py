"""Image folders, tables and arrays as nobody would make them on purpose, given to every command that reads data."""

import gzip
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import for_each
from hypothesis import strategies as st
from mutations import STORED, write
from PIL import Image
from support import no_plots
from values import TEXTS

from zoo.api import create

TRAIN = ("model=mlp", "model.net.hidden=[3]", "epochs=1", "progress=false", "hydra.run.dir=run")
CHECKPOINT = "checkpoint=m.safetensors"
COUNTS = {"train": 120, "predict": 80, "evaluate": 60, "explain": 40}  # of image folders
EACH = 60  # tables, and as many arrays, for each of three commands

# Image folders

NAMES = [
    "a", "b", "cat", "dog", "A", "train", "Train", "val", "valid", "test", "Testing", "0", "10", "größer",
    "gro\u0308ßer", "x y", ".hidden", "__MACOSX", "@eaDir", "[/bold]", "=1+1", "a\nb", "\x1b[2J", "\udcff", "\u202eabc",
    "$x^2$", "~", "-n", "${x}", "a,b", "a=b", "images", "lost+found", "CON", "x" * 200,
]  # fmt: skip
FILES = [
    "0.png", "1.png", "2.jpg", "3.JPEG", "4.bmp", "5.gif", "6.tif", "7.webp", "8.txt", "9", "x.csv", "0.npz", "y.heic",
    "Thumbs.db", ".DS_Store", "._0.png", "0.png.tmp", "\udcfe.png", "\x1b.png", "a\nb.png", "=1.png", "[x].png",
]  # fmt: skip
MODES = ["L", "RGB", "RGBA", "P", "1", "LA", "I;16", "CMYK", "I", "F", "YCbCr"]
SIZES = [(8, 8), (8, 8), (1, 1), (3, 50), (40, 2), (28, 28), (2000, 1)]


def picture(number: int, mode: str, size: tuple[int, int], suffix: str, orientation: int) -> bytes:
    """The bytes of a picture of this mode, or of grey levels if the format cannot hold the mode."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    grey = Image.fromarray(pixels)
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "bmp": "BMP", "gif": "GIF", "tif": "TIFF", "webp": "WEBP"}.get(suffix, "PNG")
    image = Image.fromarray(pixels.astype(np.uint16) * 200) if mode == "I;16" else grey.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for one in (image, grey):
        buffer = io.BytesIO()
        try:
            one.save(buffer, kind, exif=exif)
        except (OSError, ValueError, KeyError):
            continue
        return buffer.getvalue()
    return b"no picture"


def bomb() -> bytes:
    """A picture of a few bytes that says it has 40,000 x 40,000 pixels."""
    whole = picture(0, "L", (8, 8), "png", 1)
    return whole[:16] + (40_000).to_bytes(4, "big") * 2 + whole[24:]


@st.composite
def trees(draw: st.DrawFn) -> str:
    """Write a folder ``pictures``; says what is odd in it."""
    shutil.rmtree("pictures", ignore_errors=True)
    root = Path("pictures")
    root.mkdir()
    odd = []
    # Most trees are regular: the classes, perhaps within the folders of splits.
    tops = draw(st.just(["a", "b"]) | st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    inner = draw(st.one_of(st.just([]), st.just([]), st.lists(st.sampled_from(NAMES), max_size=2, unique=True)))
    folders = [root / top / name for top in tops for name in inner] or [root / top for top in tops]
    number = draw(st.integers(0, 10**6))
    count = draw(st.sampled_from([0, 1, 2, 5, 5, 8]))
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(count):
            number += 1
            (folder / f"{k}.png").write_bytes(picture(number, "L", (8, 8), "png", 1))
    odd.append(f"{count} in each of {[str(folder) for folder in folders]}")

    # A few odd files on top.
    for _ in range(draw(st.integers(0, 4))):
        folder = draw(st.sampled_from([root, *folders]))
        path = folder / draw(st.sampled_from(FILES))
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        kind = draw(st.sampled_from(["picture"] * 5 + ["half", "empty", "text", "bomb", "link", "loop", "nothing",
                                                       "pipe", "folder", "copy", "secret"]))  # fmt: skip
        mode, size = draw(st.sampled_from(MODES)), draw(st.sampled_from(SIZES))
        content = picture(number + 1000, mode, size, path.suffix[1:].lower(), draw(st.integers(0, 9)))
        if kind in ("picture", "secret"):
            path.write_bytes(content)
        elif kind == "half":
            path.write_bytes(content[: len(content) // 2])
        elif kind == "empty":
            path.touch()
        elif kind == "text":
            path.write_text("text")
        elif kind == "bomb":
            path.write_bytes(bomb())
        elif kind == "link":
            path.symlink_to(folders[0].absolute())
        elif kind == "loop":
            path.symlink_to(root.absolute())
        elif kind == "nothing":
            path.symlink_to("nothing")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif (folders[0] / "0.png").is_file():
            path.write_bytes((folders[0] / "0.png").read_bytes())
        odd.append(f"{kind} {path} {mode} {size}")
    return "; ".join(odd)


FOLDER = {
    "train": (*TRAIN, "dataset=image_folder", "dataset.root=pictures", "dataset.shape=[1,8,8]", "dataset.workers=0"),
    "predict": (CHECKPOINT, "input=pictures", "resize=true"),
    "evaluate": (CHECKPOINT, "dataset=image_folder", "dataset.root=pictures", "dataset.workers=0"),
    "explain": (CHECKPOINT, "input=pictures", "resize=true", "n=2"),
}
MORE = {
    "train": ["dataset.on_bad_image=skip", "dataset.check=false", "dataset.test=0", "dataset.validation=0",
              "dataset.source.stratified=true", "dataset.augment.flip=true", "batch_size=1"],
    "predict": ["on_bad_image=skip", "sheet=false", "resize=false", "invert=true", "format=kaggle", "top=3"],
    "evaluate": ["dataset.on_bad_image=skip", "split=test", "split=all", "invert=true", "dataset.shape=[1,28,28]"],
    "explain": ["invert=true", "target=3", "resize=false"],
}  # fmt: skip


def write_checkpoint(*classes: str) -> None:
    torch.manual_seed(0)
    net = create("lenet", in_shape=(1, 28, 28), num_classes=len(classes), kernels=[2], hidden=[3])
    about = {**STORED, "classes": list(classes), "net": {**STORED["net"], "num_classes": len(classes)}}
    write(Path("m.safetensors"), net.state_dict(), about)


def check_folders(judge: Any, command: str, count: int, *, number: int) -> None:
    write_checkpoint("a", "b")

    def one(case: tuple[str, list[str]]) -> None:
        odd, more = case
        judge.run(command, *FOLDER[command], *more, note=odd)

    words = st.lists(st.sampled_from(MORE[command]), max_size=2, unique_by=lambda word: word.partition("=")[0])
    for_each(st.tuples(trees(), words), count, one, number=number)
    assert judge.count == count


@pytest.mark.slow
@pytest.mark.parametrize("command", COUNTS)
def test_image_folders(command, judge):
    check_folders(judge, command, COUNTS[command], number=1)


def test_some_image_folders(judge, monkeypatch):
    no_plots(monkeypatch)
    check_folders(judge, "train", 6, number=2)


# Tables of pixels

CELLS = [
    "",
    " ",
    "nan",
    "inf",
    "-1",
    "256",
    "1e3",
    "0.5",
    "1e300",
    "9" * 400,
    "x",
    '"1"',
    '"',
    "1 ",
    "+1",
    "0x1",
    "٣",
    "1_0",
    "\0",
]


@st.composite
def tables(draw: st.DrawFn) -> str:
    """Write ``train.csv``; says what is odd in it."""
    rows = draw(st.sampled_from([0, 1, 2, 10, 40, 40, 40]))
    columns = draw(st.sampled_from([784] * 8 + [783, 785, 0, 1, 10]))
    top = draw(st.sampled_from([255, 255, 255, 1, 300]))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, top + 1, (rows, columns))
    cells = [[str(value) for value in row] for row in values]
    names = [f"pixel{k}" for k in range(columns)]
    odd = [f"{rows} x {columns} up to {top}"]

    # The label, at any place or nowhere.
    place = draw(st.sampled_from([0, 0, 0, columns, columns // 2, None]))
    if place is not None:
        names.insert(place, draw(st.sampled_from(["label"] * 5 + ["Label", "class", "y", "", "pixel0", "[/x]"])))
        for k, row in enumerate(cells):
            row.insert(place, str(k % 10))
    odd.append(f"label at {place}")
    if draw(st.integers(0, 5)) == 0 and len(names) > 3:
        order = draw(st.permutations(range(4)))
        order = [*order, *range(4, len(names))] if len(names) > 4 else [i for i in order if i < len(names)]
        names, cells = [names[i] for i in order], [[row[i] for i in order] for row in cells]
        odd.append("other order")

    # A few odd cells and rows.
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        if cells and cells[0]:
            row = draw(st.integers(0, len(cells) - 1))
            cell = draw(st.sampled_from([*CELLS, *TEXTS[:20]]))
            column = draw(st.integers(0, min(len(cells[row]), 790) - 1)) if cells[row] else 0
            kind = draw(st.sampled_from(["cell", "cell", "short", "long", "none"]))
            if kind == "cell" and cells[row]:
                cells[row][column] = cell
            elif kind == "short":
                cells[row] = cells[row][:column]
            elif kind == "long":
                cells[row].append(cell)
            else:
                cells[row] = []
            odd.append(f"{kind} {cell[:30]!r} in row {row}, {column}")
    separator = draw(st.sampled_from([","] * 6 + [";", "\t", " ", ", ", "|"]))
    end = draw(st.sampled_from(["\n"] * 4 + ["\r\n", "\r", "\n\n"]))
    header = [names] if draw(st.integers(0, 4)) else []
    text = end.join(separator.join(row) for row in [*header, *cells]) + draw(st.sampled_from(["", end, end * 3]))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32"]))
    odd.append(f"separator {separator!r}, end {end!r}, header {bool(header)}, {encoding}")
    content = text.encode(encoding, "surrogatepass")
    if draw(st.integers(0, 7)) == 0:
        content = gzip.compress(content, mtime=0)
        odd.append("compressed")
    Path("train.csv").write_bytes(content)
    return "; ".join(odd)


def check_digits(files, words, judge, monkeypatch):
    """Run one command on `EACH` generated files of digits; the checkpoint has the ten classes."""
    no_plots(monkeypatch)
    write_checkpoint(*"0123456789")
    for_each(files, EACH, lambda odd: judge.run(*words, note=odd), number=1)
    assert judge.count == EACH


TABLE = {
    "train": (*TRAIN, "dataset=digit_recognizer", "dataset.root=."),
    "predict": (CHECKPOINT, "input=train.csv"),
    "evaluate": (CHECKPOINT, "dataset=digit_recognizer", "dataset.root=."),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", TABLE)
def test_tables(command, judge, monkeypatch):
    check_digits(tables(), (command, *TABLE[command]), judge, monkeypatch)


# Arrays

TYPES = [
    *["uint8"] * 3, "float32", "float64", "int64", "bool", "int8", "uint16", "float16", "complex64", "U3",
    "datetime64[s]", ">f4", "O",
]  # fmt: skip


@st.composite
def arrays(draw: st.DrawFn) -> str:
    """Write ``data.npz``; says what is odd in it."""
    count = draw(st.sampled_from([40, 40, 40, 0, 1, 2, 5]))
    shapes = [
        (28, 28),
        (28, 28),
        (1, 28, 28),
        (28, 28, 1),
        (784,),
        (),
        (0,),
        (1,),
        (3, 28, 28),
        (28, 28, 3),
        (2, 2, 2, 2),
    ]
    shape = draw(st.sampled_from(shapes))
    kind, labels_kind = draw(st.sampled_from(TYPES)), draw(st.sampled_from(["int64"] * 6 + TYPES))
    levels = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, draw(st.sampled_from([256, 256, 2, 1])), (count, *shape)
    )
    with np.errstate(all="ignore"):
        x = levels.astype(kind)
        y = (np.arange(count) % draw(st.sampled_from([2, 2, 10, 1, 40]))).astype(labels_kind)
    if x.dtype.kind == "f" and draw(st.booleans()):
        x = x / np.asarray(255, x.dtype)
        if x.size and draw(st.integers(0, 3)) == 0:
            x.flat[0] = draw(st.sampled_from([np.nan, np.inf, -1.0, 6e4]))
    if draw(st.integers(0, 5)) == 0:
        y = draw(st.sampled_from([y[:-1], y.reshape(-1, 1), np.stack([y, y], 1), np.asarray(3), y[:0]]))
    # All in one, or the splits by name.
    whole = {"x": x, "y": y}
    half = count // 2
    names = draw(st.sampled_from(["all", "all", "split", "no y", "only y", "others", "validation"]))
    content: dict[str, Any] = {
        "all": whole,
        "split": {
            "x_train": x[:half],
            "y_train": y[:half] if y.ndim else y,
            "x_test": x[half:],
            "y_test": y[half:] if y.ndim else y,
        },
        "no y": {"x": x},
        "only y": {"y": y},
        "others": {**whole, "../x": x, "x\n": y, "[/z]": np.asarray("x" * 50)},
        "validation": {**whole, "x_val": x[:2], "y_val": y[:2] if y.ndim else y},
    }[names]
    save = draw(st.sampled_from([np.savez, np.savez_compressed]))
    save("data.npz", **content)
    odd = f"{count} of {shape} {kind}, y {y.shape} {labels_kind}, {names}"
    if draw(st.integers(0, 9)) == 0:
        np.save("data.npy", x, allow_pickle=True)
        Path("data.npy").rename("data.npz")
        odd += ", one array"
    return odd


ARRAY = {
    "train": (*TRAIN, "dataset=npz", "dataset.root=data.npz"),
    "predict": (CHECKPOINT, "input=data.npz"),
    "evaluate": (CHECKPOINT, "dataset=npz", "dataset.root=data.npz"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", ARRAY)
def test_arrays(command, judge, monkeypatch):
    check_digits(arrays(), (command, *ARRAY[command]), judge, monkeypatch)


def test_some_arrays(judge, monkeypatch):
    no_plots(monkeypatch)
    for_each(arrays(), 6, lambda odd: judge.run("train", *ARRAY["train"], note=odd), number=2)
    assert judge.count == 6
