"""Values of every kind, for keys of a command line, fields of a file and cells of a table."""

from typing import Any

from hypothesis import strategies as st
from mutations import WRONG

# Numbers as people type them.
NUMBERS = ["nan", "inf", "-inf", "-1", "0", "1", "2", "0.5", "-0.0", "1e300", "1e-300", "1e-40", str(2**70), "1" * 400]
# Values of Hydra's grammar, and text that does not follow it.
TEXTS = [
    "null", "true", "FALSE", "???", "", " ", "auto", "x", "a b", "größer", "日本", "e\u0301", "\u202eabc", "\ud800",
    "\x1b[2J", "a\nb", "\x07", "[/bold]", "[red]x", "$x^2$", "$\\frac{$", "=1+1", "-x", "--help", "~", "'", '"', "\\",
    "a\\", "${", "${}", "${x}", "${seed}", "${dataset}", "${.}", "${..}", "${oc.env:NONE}", "${now:%Y}", "${model.net}",
    "${oc.env:HOME}", "[]", "[1]", "[1,2]", "[null]", "[[1]]", "[nan]", "[1e300]", "{}", "{a:1}",
    "{_target_:os.system}",
    "{_target_:zoo.models.MLP}", "[", "{", "a,b", "a:b", "a=b", "1_000", "0x10", "1e", "2024-01-02", "range(1,3)",
    "choice(1,2)", "extend_list(1)", "%s", "%(x)s", "../x", "./", ".", "..", "a/b", "lenet5", "digits", "adam", "*.png",
    "int(1)", "str(1)", "glob(*)", "sort(3,1)", "@x", "a@b", "hf://a/b", "hf://a/b@" + "0" * 40, "x" * 300, "x" * 5000,
    "[" * 60, "[" * 500 + "]" * 500, "m.safetensors", "a.png", "data.npz",
]  # fmt: skip
# Letters of all kinds, without the one that would make a path lead out of the test's folder.
LETTERS = st.sampled_from(
    "abcXYZ0189_-.,:;=+*?!@#$%^&|<>()[]{}'\"`~\\ \t\n\r\x01\x1b\x7f\x85\xa0\xad"
    "äßÉΩ\u0301\u200b\u200d\u202e\u2028\u3000日本٣\ufeff\uffff\ud800\udcff🎲"
)

words = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.text(LETTERS, max_size=12),
    st.integers(-(2**66), 2**66).filter(lambda n: not 2 < n < 10**12).map(str),
    st.floats().filter(lambda x: not 2 < x < 1e12).map(repr),
    st.lists(st.sampled_from(NUMBERS), max_size=4).map(lambda items: f"[{','.join(items)}]"),
)

# Values of JSON and YAML.
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(LETTERS, max_size=8),
    st.sampled_from(TEXTS),
)
nodes: Any = st.one_of(
    st.sampled_from(list(WRONG.values())),
    scalars,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(LETTERS, max_size=5), inner, max_size=4),
        max_leaves=6,
    ),
)
