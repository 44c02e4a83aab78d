"""Tables are read as they are written, or refused with the line or column that is wrong."""

import gzip

import pytest

from zoo.data.tables import table_file

TEXT = 'name,size,note\nAnna,1.5,"a, b"\nBob, 2 ,NA\n'


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_every_separator_is_found(tmp_path, separator):
    rows = [["a", "b", "c"], ["x", "1", "2"], ["y", "3", ""]]
    path = write(tmp_path / "t.csv", "\n".join(separator.join(row) for row in rows) + "\n")
    assert table_file.read(path).columns == {"a": ["x", "y"], "b": ["1", "3"], "c": ["2", ""]}


def test_quotes_spaces_missing_values_and_a_byte_order_mark(tmp_path):
    path = write(tmp_path / "t.csv", "\ufeff" + TEXT)
    expected = {"name": ["Anna", "Bob"], "size": ["1.5", "2"], "note": ["a, b", ""]}
    assert table_file.read(path).columns == expected
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(TEXT.encode()))
    assert table_file.read(packed).columns == expected


def test_decimal_commas_are_numbers_and_it_is_said(tmp_path):
    table = table_file.read(write(tmp_path / "t.csv", "a;b\n1,5;x,y\n2;z\n"))
    assert table.columns == {"a": ["1.5", "2"], "b": ["x,y", "z"]}
    assert "commas in numbers are decimal commas, as in 1,5" in table.notes[0]


def test_a_file_without_names_numbers_its_columns_and_it_is_said(tmp_path):
    path = write(tmp_path / "t.csv", "1,2\n3,4\n")
    table = table_file.read(path)
    assert table.columns == {"column0": ["1", "3"], "column1": ["2", "4"]}
    assert "column0, column1" in table.notes[0]
    assert table_file.read(path, header="true").columns == {"1": ["3"], "2": ["4"]}


def test_an_index_without_a_name_is_left_out(tmp_path):
    table = table_file.read(write(tmp_path / "t.csv", ",a\n0,5\n1,6\n"))
    assert table.columns == {"a": ["5", "6"]}
    assert "left out" in table.notes[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n3\n", r"t\.csv, line 3: 1 cells, but 2 columns"),
        ("a,a\n1,2\n", "2 columns are called 'a'"),
        ("a,b\n", "no rows below the header"),
        ("", "the first line is empty"),
        ('a,b\n"1,2\n', "not a CSV"),
        ("a,b\n" + "1" * 2**24, "a line has 16,777,216 characters or more"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, text, says):
    with pytest.raises(ValueError, match=says):
        table_file.read(write(tmp_path / "t.csv", text))


def test_other_encodings_folders_and_missing_files_are_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes("a\nK\xf6ln\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        table_file.read(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        table_file.read(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"input=.*no such file"):
        table_file.read(tmp_path / "x.csv", key="input")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TEXT.encode())[:-9])
    with pytest.raises(ValueError, match="compressed file is damaged"):
        table_file.read(tmp_path / "t.csv.gz")


def test_a_parquet_file_without_columns_or_with_a_date_out_of_range_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet: a table without columns"):
        table_file.read(tmp_path / "t.parquet")
    days = pa.array([2**31 - 1], type=pa.int32()).cast(pa.date32())
    parquet.write_table(pa.table({"day": days}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet: not a readable Parquet file"):
        table_file.read(tmp_path / "t.parquet")


def test_parquet_gives_the_same_table_as_csv(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    content = pa.table({"a": [1, 2, None], "b": ["x", None, "z"], "c": [True, False, True], "d": [0.5, 1.5, 2.5]})
    parquet.write_table(content, tmp_path / "t.parquet")
    assert table_file.read(tmp_path / "t.parquet").columns == {
        "a": ["1", "2", ""],
        "b": ["x", "", "z"],
        "c": ["true", "false", "true"],
        "d": ["0.5", "1.5", "2.5"],
    }
    parquet.write_table(pa.table({"a": [[1], [2]]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="column 'a' has values of type list"):
        table_file.read(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and more")
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        table_file.read(tmp_path / "t.parquet")
