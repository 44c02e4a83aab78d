"""CSV files of pixels: every layout that is read, and the line that is named if one is wrong."""

import tracemalloc

import numpy as np
import pytest
from support import write_csv

from zoo.data import pixel_csv


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_csv_may_have_quoted_names_a_bom_and_any_line_ending(tmp_path, ending, encoding, quote):
    header = ",".join(f"{quote}{name}{quote}" for name in ("a", "b", "label"))
    (tmp_path / "x.csv").write_bytes(ending.join([header, "1,2,3", " 4, 5,6"]).encode(encoding))
    (rows,) = pixel_csv.read(tmp_path / "x.csv", pixels=2, labeled=True)
    assert rows.pixels.tolist() == [[1, 2], [4, 5]]
    assert rows.labels.tolist() == [3, 6]


def test_csv_without_labels_has_none(tmp_path):
    pixels, _ = write_csv(tmp_path, at=None, rows=3)
    (rows,) = pixel_csv.read(tmp_path / "train.csv", pixels=784)
    assert rows.labels is None
    assert np.array_equal(rows.pixels, pixels)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,2,3,4", "line 3: 4 values, but the header has 3"),
        ("1,2", "line 3: 2 values, but the header has 3"),
        ("", "line 3: 0 values, but the header has 3"),
        ("1,2,256", "line 3: pixel 1 is 256, must be in .0, 255."),
        ("1,-1,2", "line 3: pixel 0 is -1, must be in .0, 255."),
        ("1,x,2", "line 3: 'x' is not an integer"),
        ("1,3.5,2", "line 3: '3.5' is not an integer"),
        ("1,,2", "line 3: '' is not an integer"),
        ("#,2,2", "line 3: '#' is not an integer"),
        ("x,2,2", "line 3: 'x' is not an integer"),
        ("1,99999999999999999999,2", "line 3: '99999999999999999999' is too large"),
    ],
)
@pytest.mark.parametrize("chunk_size", [1024, 2])
def test_a_wrong_csv_row_names_file_and_line(tmp_path, row, message, chunk_size):
    path = tmp_path / "x.csv"
    path.write_text(f"label,a,b\n1,2,3\n{row}\n4,5,6\n")
    with pytest.raises(ValueError, match=message) as refusal:
        list(pixel_csv.read(path, pixels=2, chunk_size=chunk_size))
    assert str(refusal.value).startswith(f"{path}, line")


def test_lines_are_counted_across_chunks(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "1\n" * 10 + "900\n")
    with pytest.raises(ValueError, match="line 12: pixel 0 is 900"):
        list(pixel_csv.read(path, pixels=1, chunk_size=4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,b,c\n1,2,3\n", r"no column 'label' \(the first columns are a, b, c\)"),
        (b"label,a\n1,2\n", "1 pixel columns, expected 2"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_a_file_that_is_not_such_a_csv_is_refused(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.csv: {message}"):
        list(pixel_csv.read(tmp_path / "x.csv", pixels=2, labeled=True))


def test_csv_is_streamed_in_chunks(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "7\n" * 10 + "wrong\n")
    chunks = pixel_csv.read(path, pixels=1, chunk_size=4)
    assert [next(chunks).pixels.flatten().tolist() for _ in range(2)] == [[7] * 4] * 2  # before the wrong row is met


def test_reading_a_longer_csv_takes_no_more_memory(tmp_path):
    def peak(rows):
        (tmp_path / "x.csv").write_text(",".join("abcdefgh") + "\n" + "10,20,30,40,50,60,70,80\n" * rows)
        tracemalloc.start()
        count = sum(len(chunk.pixels) for chunk in pixel_csv.read(tmp_path / "x.csv", pixels=8, chunk_size=100))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == rows
        return used

    peak(100)  # imports and caches
    assert peak(4000) < 1.5 * peak(400)
