"""``zoo COMMAND ...``: find the command, run it, and turn every error into one message and exit status 1.

The module of a command is imported when the command is run, so that ``zoo list`` and the help pages are fast.
"""

import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from zoo.cli import arguments as grammar
from zoo.cli import help as pages
from zoo.cli.commands import COMMANDS
from zoo.cli.errors import exit_status, message
from zoo.config import trust
from zoo.config.console import warn
from zoo.config.overrides import is_sweep
from zoo.training import signals

__all__ = ["main", "message", "run"]


def main(command: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Run one command; on an error, print a message and end the process.

    Args:
        command: name of the command; None: the first of the arguments.
        arguments: arguments of the command; None: those of this process.

    Raises:
        SystemExit: with status 1 after an error, 130 after Ctrl-C, or 128 + the number of another signal.
    """
    if arguments is None:
        _prepare_process()

    # Trust packages before anything is looked up in them. Without a command, print the overview.
    given = list(sys.argv[1:] if arguments is None else arguments)
    given = _trust(given)
    if command is None:
        command = given.pop(0) if given else "--help"

    # Print the version or a help page. "zoo help train" is "zoo train --help".
    if command == "--version":
        sys.stdout.write(pages.version())
        return
    if command in (*grammar.HELP, "help"):
        if not given:
            sys.stdout.write(pages.overview())
            return
        command, given = given[0], ["--help"]

    # Run the command. Every error, an unknown command included, becomes one message, and so does a signal. Until the
    # command is imported and its config is composed, signals end the process.
    name = f"zoo {command}" if command in COMMANDS else "zoo"
    status = 0
    with signals.command_signals(name) as stop:
        try:
            grammar.check_command(command)
            if grammar.asks_for_help(given):
                sys.stdout.write(pages.command_page(command))
            elif COMMANDS[command].composed:
                # Not through `run`, which would add a frame to the traceback of every error.
                grammar.check(command, given)
                _check_folder()
                function = _implementation(command)
                launch = _launcher()
                gc.enable()
                with signals.launching(stop, sweep=is_sweep(given)):
                    launch(command, function, given, file=_file(command), around=signals.one_job)
            else:
                function = _implementation(command)
                gc.enable()
                with stop.raised("interrupted"):
                    function([argument for argument in given if argument.lower() != "debug=true"])
        except KeyboardInterrupt:
            # 130 is the exit status of a shell for Ctrl-C.
            sys.stderr.write("\ninterrupted\n")
            status = 130
        except BrokenPipeError:
            # The reader of the output, such as `head`, has ended. Without this, Python would print an error on exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (Exception, signals.Stopped) as error:
            _report(error, command, name, debug=grammar.asks_for_debug(given))
            status = exit_status(error)
    if status:
        sys.exit(status)


def _prepare_process() -> None:
    """Prepare a process that was started as ``zoo``: garbage collection, plots, logging and closed streams."""
    # Until the command is imported, no garbage is collected: the imports create a million objects that stay, and to
    # look for garbage among them again and again would take a seventh of the time to the first step. (Without
    # gc.freeze, which makes libraries complain of leaks when the process ends.)
    gc.disable()
    # Draw to files only: Jupyter sets a backend that other environments may lack. Libraries import matplotlib, which
    # would warn if it has no folder for its cache.
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # The parent process may have closed the streams.
    for name in ("stdout", "stderr"):
        if vars(sys)[name] is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open until the end


def _trust(arguments: Sequence[str]) -> list[str]:
    """Trust the packages of ``--trust``; return the other arguments. Ends the process if there is no such package."""
    try:
        rest, packages = grammar.without_trust(arguments)
        trust.trust_in_process(packages)
    except (ValueError, FileNotFoundError) as error:
        warn(f"zoo: {message(error)}")
        sys.exit(1)
    return rest


def _check_folder() -> None:
    """Raise ValueError if the working directory was deleted; PyTorch would end the process."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ValueError("the working directory was deleted; change to another folder") from error


def _report(error: BaseException, command: str, name: str, *, debug: bool) -> None:
    """Print the message of an error or of a stop, or with ``debug`` the traceback of an error."""
    is_stop = isinstance(error, signals.Stopped)
    if debug and not is_stop:
        _print_traceback(error)
    elif not is_stop or _is_first_process():
        # The terminal may be closed: then SIGHUP was the signal.
        with suppress(OSError):
            warn(f"{name}: {message(error, command)}")


def _is_first_process() -> bool:
    """Whether this is the first process of a distributed run. All processes stop, but only one prints the message."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def run(command: str, arguments: Sequence[str]) -> None:
    """Run a command from Python, such as in a notebook: ``run("train", ["model=mlp", "epochs=3"])``.

    If several threads run commands at the same time, those that take ``KEY=VALUE`` run one after another.

    Raises:
        ValueError: an unknown command or a malformed argument.
        Exception: any error of the command; `message` gives its one-line message.
    """
    # As in `main`, but errors are raised.
    grammar.check_command(command)
    if isinstance(arguments, str):
        raise ValueError(f"arguments={arguments!r} must be a list, such as ['model=mlp', 'epochs=3']")
    given, packages = grammar.without_trust([str(argument) for argument in arguments])
    for package in packages:
        trust.trust(package)
    if grammar.asks_for_help(given):
        sys.stdout.write(pages.command_page(command))
    elif COMMANDS[command].composed:
        grammar.check(command, given)
        _launcher()(command, _implementation(command), given, file=_file(command))
    else:
        _implementation(command)(given)


def _print_traceback(error: BaseException) -> None:
    """Print a traceback on standard error, for ``debug=true``; `warn` escapes control characters in it."""
    for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
        warn(line)


def _implementation(command: str) -> Callable[..., Any]:
    """The function that runs a command, on the composed config or on the list of arguments."""
    entry = COMMANDS[command]
    function: Callable[..., Any] = getattr(import_module(f"zoo.cli.{entry.module}"), entry.function)
    return function


def _file(command: str) -> str:
    """The Python file of a command."""
    return str(import_module(f"zoo.cli.{COMMANDS[command].module}").__file__)


def _launcher() -> Callable[..., None]:
    """`zoo.config.compose.launch`, imported late because Hydra is slow to import."""
    from zoo.config.compose import launch

    return launch
