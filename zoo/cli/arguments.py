"""Check the syntax of a command line before Hydra reads it: the command, its flags, and KEY=VALUE.

Hydra prints its whole usage text for an unknown flag; these checks raise errors of one line.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from zoo.cli.commands import COMMANDS
from zoo.config.overrides import FLAGS

HELP = ("-h", "--help")


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether ``-h`` or ``--help`` is among the arguments."""
    return any(argument in HELP for argument in arguments)


def asks_for_debug(arguments: Sequence[str]) -> bool:
    """Whether ``debug=true`` is among the arguments."""
    return any(argument.lower() == "debug=true" for argument in arguments)


def asks_for_sweep(arguments: Sequence[str]) -> bool:
    """Whether the arguments start a sweep: ``-m``, ``--multirun`` or ``hydra.mode=MULTIRUN``."""
    return any(argument in ("-m", "--multirun") or argument.startswith("hydra.mode=") for argument in arguments)


def check_command(command: str) -> None:
    """Raise ValueError unless there is such a command; the message suggests the most similar one."""
    if command in COMMANDS:
        return
    # Suggest one command only: several suggestions would be as long as the whole list.
    near = get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(COMMANDS)}"
    raise ValueError(f"unknown command {command!r}; {hint}")


def check(command: str, arguments: Sequence[str]) -> None:
    """Raise ValueError unless every argument is KEY=VALUE, ~KEY or a flag of Hydra with its value."""
    expects_value = False
    for argument in arguments:
        if argument.startswith("-"):
            # A flag. Hydra accepts "--cfg job" and "--cfg=job".
            name, has_value, _ = argument.partition("=")
            if name == "--experimental-rerun":
                raise ValueError(
                    f"{name} is not supported, since it would run code of a file; resume a run with resume="
                )
            if name not in FLAGS:
                near = get_close_matches(name, ["--help", *FLAGS], n=1, cutoff=0.8)
                hint = f"did you mean {near[0]}?" if near else f"see zoo {command} --help"
                raise ValueError(f"unknown flag {name!r}; {hint}")
            expects_value = FLAGS[name] and not has_value
        elif expects_value:
            # The value of the flag before it, which may be any text.
            expects_value = False
        # Everything else is an override: KEY=VALUE, +KEY=VALUE or ~KEY.
        elif argument.startswith("=") or ("=" not in argument and not argument.startswith("~")):
            raise ValueError(f"{argument!r} is not KEY=VALUE; see zoo {command} --help")
