"""Find sentences that call a result better than a published one although the intervals do not say so.

May import the other files of this folder.
"""

import re
from collections.abc import Mapping
from typing import Any

from zoo.release import claims, intervals, protocol

WORDS = re.compile(
    r"\b(better|best|beats?|exceed(s|ed)?|outperform(s|ed)?|surpass(es|ed)?|superior|state of the art|record)\b", re.I
)
# Our own texts about the rule, and the name of a column.
RULES = re.compile("|".join(re.escape(text) for text in ("best known", "whether or not it is the best")), re.I)


def undue(text: str, entries: Mapping[str, Mapping[str, Any]], *, name: str = "") -> list[str]:
    """The lines of a document that compare a result in words which its intervals do not support.

    Args:
        text: the document, such as README.md.
        entries: entries of the index with a claim.
        name: name of the recipe that the whole document is about, as for a model card; otherwise only lines that name a
            recipe are read.
    """
    # The protocol explains the words.
    for rule in (protocol.RESULTS, protocol.README.split("{datasets}")[1].split("<img")[0]):
        text = text.replace(rule, "")
    return [line for line in text.splitlines() if _compares(line) and not _is_due(line, entries, name)]


def _compares(line: str) -> bool:
    """Whether a line has a word of comparison. The conditions of a published number are not about ours."""
    return bool(WORDS.search(RULES.sub("", line.partition("(95 %:")[0])))


def _is_due(line: str, entries: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    """Whether the line names no recipe, or one whose interval lies beyond that of a published number."""
    named = [recipe for recipe in entries if re.search(rf"(?<![\w-]){re.escape(recipe)}(?![\w-])", line)]
    if name in entries:
        named = [name]
    for recipe in named:
        claim = claims.parse(entries[recipe]["claim"])
        verdicts = [claim.verdict(entries[recipe], number) for number in (claim.published, claim.best_known)]
        if intervals.BETTER not in verdicts:
            return False
    return True
