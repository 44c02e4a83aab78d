"""Check the syntax of a command line before Hydra reads it: the command, its flags, and KEY=VALUE.

Hydra prints its whole usage text for an unknown flag; these checks raise errors of one line.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from zoo.cli.commands import COMMANDS
from zoo.config.overrides import CHOICES, FLAGS

HELP = ("-h", "--help")
TRUST = "--trust"  # a flag of every command, which may stand before or after the command


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether ``-h`` or ``--help`` is among the arguments."""
    return any(argument in HELP for argument in arguments)


def asks_for_debug(arguments: Sequence[str]) -> bool:
    """Whether ``debug=true`` is among the arguments."""
    return any(argument.lower() == "debug=true" for argument in arguments)


def without_trust(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without ``--trust PACKAGE`` and ``--trust=PACKAGE``, and the packages.

    Raises:
        ValueError: ``--trust`` has no value.
    """
    rest = []
    packages = []
    remaining = list(arguments)
    while remaining:
        name, has_value, value = remaining.pop(0).partition("=")
        if name != TRUST:
            rest.append(name + has_value + value)
            continue
        if not has_value:
            value = remaining.pop(0) if remaining else ""
        if not value:
            raise ValueError(f"{TRUST} needs the name of a package, such as {TRUST} my_package")
        packages += value.split(",")
    return rest, packages


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
    flag = ""
    for argument in arguments:
        if argument.startswith("-"):
            # A flag. Hydra accepts "--cfg job" and "--cfg=job".
            name, has_value, value = argument.partition("=")
            if name == "--experimental-rerun":
                raise ValueError(
                    f"{name} is not supported, since it would run code of a file; resume a run with resume="
                )
            if name not in FLAGS:
                near = get_close_matches(name, ["--help", TRUST, *FLAGS], n=1, cutoff=0.8)
                hint = f"did you mean {near[0]}?" if near else f"see zoo {command} --help"
                raise ValueError(f"unknown flag {name!r}; {hint}")
            if has_value:
                _check_choice(name, value)
            expects_value = FLAGS[name] and not has_value
            flag = name
        elif expects_value:
            # The value of the flag before it, which may be any text unless the flag has choices.
            _check_choice(flag, argument)
            expects_value = False
        # Everything else is an override: KEY=VALUE, +KEY=VALUE or ~KEY.
        elif argument.startswith("=") or ("=" not in argument and not argument.startswith("~")):
            raise ValueError(f"{argument!r} is not KEY=VALUE; see zoo {command} --help")
    # Only the value of --info may be left out.
    if expects_value and flag not in ("--info", "-i"):
        raise ValueError(f"{flag} needs a value; see zoo {command} --help")


def _check_choice(flag: str, value: str) -> None:
    """Raise ValueError if a flag has choices, and the value is not one of them."""
    choices = CHOICES.get(flag, (value,))
    if value not in choices:
        raise ValueError(f"{flag} {value}: choose {', '.join(choices[:-1])} or {choices[-1]}")
