"""CSV files of pixels: every layout that is read, and the line that is named if one is wrong."""

import gzip
import tracemalloc

import numpy as np
import pytest
from support import write_csv

from zoo.data.tables import pixel_csv


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


def rows_of(path, pixels, **options):
    """All pixels of a file, and what was noted."""
    notes = []
    chunks = list(pixel_csv.read(path, pixels=pixels, note=notes.append, **options))
    return [row for chunk in chunks for row in chunk.pixels.tolist()], notes


@pytest.mark.parametrize(
    ("text", "header", "says"),
    [
        ("9,8,7\n4,5,6\n", "auto", "the first line is taken as values"),
        ("9,8,7\n4,5,6\n", "false", None),
        ("0,1,2\n9,8,7\n4,5,6\n", "auto", "the first line is taken as the numbers of the columns"),
        ("3,1,2\n9,8,7\n4,5,6\n", "true", None),
        ("a;b;c\n9;8;7\n4;5;6\n", "auto", "separated by ';'"),
        ("a\tb\tc\n9\t8\t7\n4\t5\t6\n", "auto", "separated by tabs"),
        (",a,b,c\n0,9,8,7\n1,4,5,6\n", "auto", "left out: (without a name)"),
        (",0,1,2\n0,9,8,7\n1,4,5,6\n", "auto", "left out: (without a name)"),
        ("Unnamed: 0,p0,p1,p2\n0,9,8,7\n1,4,5,6\n", "auto", "left out: Unnamed: 0"),
        ("id,Label,p0,p1,p2\n0,1,9,8,7\n1,1,4,5,6\n", "auto", "left out: id"),
        ("p10,p9,p8\n7,8,9\n6,5,4\n", "auto", "'p10' is out of order"),
        ("1x2,2x1,1x1\n8,7,9\n5,6,4\n", "auto", "'1x2' is out of order"),
        ("a,b,c\r\n9,8,7\r\n4,5,6\r\n\r\n  \r\n", "auto", None),
        ('"a","b","c"\n"9","8","7"\n"4","5","6"\n', "auto", None),
        ("a,b,c\n9.0,8.0,7\n4,5,6e0\n", "auto", None),
        ("\ufeffa,b,c\n9,8,7\n4,5,6", "auto", None),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_tables_that_people_have_are_read_right(tmp_path, text, header, says, compressed):
    path = tmp_path / ("x.csv.gz" if compressed else "x.csv")
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    rows, notes = rows_of(path, 3, header=header)
    if header == "true":
        assert rows == [[8, 7, 9], [5, 6, 4]], "by the numbers in the names"
    else:
        assert rows == [[9, 8, 7], [4, 5, 6]]
    assert says is None or any(says in note for note in notes)
    assert says is not None or header == "true" or not notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p0,p1,p3\n1,2,3\n", "the columns are numbered, but 'p2' is missing"),
        ("p0,p1,p1\n1,2,3\n", "the column 'p1' appears twice"),
        ("9,8,x\n1,2,3\n", "line 1 has numbers and 'x': values or names"),
        ("5,9,8,7\n1,2,3,4\n", "4 pixel columns, expected 3; a column that is not a pixel needs a name"),
        ("a,b,c\n1,2,3\n\n4,5,6\n", "line 3: 0 values"),
        ("a,b,c\n1,2,nan\n", "line 2: 'nan' is not an integer"),
        ("a,b,c\n1,2,1_0\n", "line 2: '1_0' is not an integer"),
        ("a;b;c\n0,5;1;2\n", "line 2: '0,5' is not an integer"),
        ("a,b,c\n1,2,0.5\n", "line 2: '0.5' is not an integer"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as refusal:
        rows_of(tmp_path / "x.csv", 3)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_line_without_an_end_takes_no_memory(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("wb") as file:
        file.truncate(2**34)
    tracemalloc.start()
    with pytest.raises(ValueError, match="line 1: longer than 65,536 characters"):
        rows_of(path, 784)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8b\x08 damaged", gzip.compress(b"a,b,c\n1,2,3\n")[:-9], b"a,b,c\n1,\xff,3\n"],
    ids=["damaged header", "cut short", "not UTF-8"],
)
def test_a_damaged_table_is_refused(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.csv: (the compressed file is damaged|not a text file)"):
        rows_of(tmp_path / "x.csv", 3)


def test_columns_that_are_no_pixels_may_contain_text(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("file,label,p0,p1,p2,\na.png,3,7,8,9,\nb.png,4,9.0,10,11,\n")
    (rows,) = pixel_csv.read(path, pixels=3, labeled=True)
    assert rows.pixels.tolist() == [[7, 8, 9], [9, 10, 11]]
    assert rows.labels is not None
    assert rows.labels.tolist() == [3, 4]
    path.write_text("file,pixel0,pixel1\na.png,7,x\n")
    with pytest.raises(ValueError, match="line 2: 'x' is not an integer"):
        list(pixel_csv.read(path, pixels=2))
