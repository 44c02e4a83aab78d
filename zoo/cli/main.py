"""``zoo COMMAND ...``: finds the command, runs it, and turns every error into one message and exit status 1.

Imports next to nothing, so that ``zoo list`` and the help pages answer at once; the module of a command is imported
when the command is run.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from zoo.cli import arguments as grammar
from zoo.cli import help as pages
from zoo.cli.commands import COMMANDS
from zoo.cli.errors import exit_status, message

__all__ = ["main", "message", "run"]


def main(command: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process as a command line does.

    Args:
        command: its name; None: the first of the arguments.
        arguments: what follows it; None: the arguments of this process.
    """
    # Without a command there is nothing to do but to say what could be done.
    given = list(sys.argv[1:] if arguments is None else arguments)
    if command is None:
        command = given.pop(0) if given else "--help"

    # Questions about the program itself. "zoo help train" is "zoo train --help".
    if command == "--version":
        sys.stdout.write(pages.version())
        return
    if command in (*grammar.HELP, "help"):
        if not given:
            sys.stdout.write(pages.overview())
            return
        command, given = given[0], ["--help"]

    # Run the command. Every mistake, also in the name of the command, becomes one message below.
    try:
        grammar.check_command(command)
        if grammar.asks_for_help(given):
            sys.stdout.write(pages.command_page(command))
        elif COMMANDS[command].composed:
            # Called here rather than through `run`, so that few frames of the zoo stand above the training loop.
            grammar.check(command, given)
            _launcher()(command, _implementation(command), given)
        else:
            _implementation(command)([argument for argument in given if argument.lower() != "debug=true"])
    except KeyboardInterrupt:
        # 130 is what a shell reports for Ctrl-C.
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has ended. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if grammar.asks_for_debug(given):
            traceback.print_exc()
        else:
            # An unknown command is a mistake of `zoo` itself.
            name = f"zoo {command}" if command in COMMANDS else "zoo"
            sys.stderr.write(f"{name}: {message(error, command)}\n")
        sys.exit(exit_status(error))


def run(command: str, arguments: Sequence[str]) -> None:
    """Run a command from Python, such as in a notebook: ``run("train", ["model=mlp", "epochs=3"])``.

    Raises:
        ValueError: an unknown command or a malformed argument.
        Exception: whatever the command raises; `message` words it.
    """
    # As in `main`, but errors reach the caller.
    grammar.check_command(command)
    if COMMANDS[command].composed:
        grammar.check(command, arguments)
        _launcher()(command, _implementation(command), arguments)
    else:
        _implementation(command)(list(arguments))


def _implementation(command: str) -> Callable[..., Any]:
    """The function that does a command's work: of the composed config, or of the list of arguments."""
    entry = COMMANDS[command]
    function: Callable[..., Any] = getattr(import_module(f"zoo.cli.{entry.module}"), entry.function)
    return function


def _launcher() -> Callable[[str, Callable[..., Any], Sequence[str]], None]:
    """`zoo.config.compose.launch`, imported late since Hydra takes long to import."""
    from zoo.config.compose import launch

    return launch


if __name__ == "__main__":
    main()
