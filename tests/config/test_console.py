"""Names from outside are printed as they are, and never control the terminal."""

import io
import sys

import pytest

from zoo.cli.errors import message
from zoo.config import console


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
        ("a\nb\r\tc\x00", r"a\nb\r\tc\x00"),
        ("\x85\x9b\u2028\u2029", r"\x85\x9b\u2028\u2029"),
        ("\udcff", r"\udcff"),
        ("cod\u202eexe", r"cod\u202eexe"),
        ("\ufeff\u200b", r"\ufeff\u200b"),
        ("Äpfel 日本 😀 a\xa0b", "Äpfel 日本 😀 a\xa0b"),
        ("\U0001f469\u200d\U0001f467 می\u200cخواهم", "\U0001f469\u200d\U0001f467 می\u200cخواهم"),
        (r"C:\new\x1b [/x] :smile:", r"C:\new\x1b [/x] :smile:"),
        (7, "7"),
    ],
)
def test_characters_that_are_not_visible_become_escapes(text, expected):
    assert console.printable(text) == expected


NAMES = ["[/x]", "[bold]a[/bold]", "[cat]", "\\[x]", ":smile:", "a\x1b[2Jb", "a\nb", "x" * 200]


@pytest.mark.parametrize("name", NAMES)
def test_lines_and_tables_show_names_as_they_are(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "900")
    console.say(name)
    console.print_table(name, [name, "b"], [[name, name]], right=["b"])
    out = capsys.readouterr().out
    assert out.count(console.printable(name)) == 5
    assert "\x1b" not in out


def test_a_title_and_a_line_are_never_wrapped_and_cells_never_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    console.print_table("t" * 100, ["a", "b"], [["x" * 100, "y" * 100]])
    out = capsys.readouterr().out
    assert "t" * 100 in out.splitlines()
    assert (out.count("x"), out.count("y")) == (100, 100)


def test_an_output_that_is_not_utf8_gets_escapes(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    console.say("Äpfel")
    console.print_table("日", ["a"], [["ß"]])
    stream.flush()
    out = stream.buffer.getvalue().decode("ascii")
    assert all(text in out for text in (r"\xc4pfel", r"\u65e5", r"\xdf"))


def test_warnings_are_one_line_on_standard_error(capsys):
    console.warn("skipped: a\n\x1b[2J.png")
    assert capsys.readouterr() == ("", "skipped: a\\n\\x1b[2J.png\n")


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, RuntimeError])
def test_error_messages_are_one_line_without_control_characters(kind):
    text = message(kind("p/a\x1b[2J\x9b.png: not readable\nall is well\n"))
    assert r"p/a\x1b[2J\x9b.png: not readable" in text
    assert text.isprintable()
