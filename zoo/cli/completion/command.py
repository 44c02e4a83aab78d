"""``zoo completion SHELL``: print the script that makes a shell complete the arguments of ``zoo``.

The script runs ``zoo completion words LINE`` at each press of the Tab key; `zoo.cli.completion.words` finds the
candidates. Hydra's own ``--shell-completion`` serves programs with one config, takes a second, and knows no commands.

Imports neither torch nor hydra.
"""

import sys
import textwrap
from collections.abc import Sequence

from zoo.cli.completion.words import candidates

WIDTH = 60  # of a description, in characters
WORDS = "words"  # the argument with which the scripts ask for candidates

# Bash breaks words at "=" and ":", and replaces only the text after the last break.
BASH = r"""_zoo_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" word candidate
    local current="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        word="${line##*[[:space:]]}"
        case "$current" in
            "=" | ":" | "@") candidate="${candidate#"$word"}" ;;
            *) candidate="${candidate#"${word%"$current"}"}" ;;
        esac
        COMPREPLY+=("$candidate")
    done < <(zoo completion words "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]]; then
        compopt -o nospace
    fi
}
complete -F _zoo_complete zoo
"""
ZSH = r"""_zoo_complete() {
    local candidate description
    local -a words_only shown
    while IFS=$'\t' read -r candidate description; do
        words_only+=("$candidate")
        shown+=("${candidate}${description:+  -- $description}")
    done < <(zoo completion words "$LBUFFER" 2>/dev/null)
    if (( ${#words_only} == 1 )) && [[ ${words_only[1]} != *[=./] ]]; then
        compadd -Q -l -d shown -a words_only
    else
        compadd -Q -S '' -l -d shown -a words_only
    fi
}
compdef _zoo_complete zoo
"""
FISH = r"""complete -c zoo -f -a '(zoo completion words (commandline -cp | string collect) 2>/dev/null)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def main(arguments: Sequence[str]) -> None:
    """Print the script of a shell, or the candidates for a line: one a row, with a tab before its description.

    Raises:
        ValueError: not exactly one known shell.
    """
    if len(arguments) == 2 and arguments[0] == WORDS:
        for word, description in candidates(arguments[1]):
            sys.stdout.write(f"{word}\t{textwrap.shorten(description, WIDTH, placeholder='…')}\n")
        return
    if len(arguments) != 1 or arguments[0] not in SCRIPTS:
        raise ValueError(f"expected one of {', '.join(SCRIPTS)}, such as zoo completion bash")
    sys.stdout.write(SCRIPTS[arguments[0]])
