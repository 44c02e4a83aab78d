"""``zoo COMMAND ...``: find the command, run it, and turn every error into one message and exit status 1.

The module of a command is imported when the command is run, so that ``zoo list`` and the help pages are fast.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from zoo.cli import arguments as grammar
from zoo.cli import help as pages
from zoo.cli.commands import COMMANDS
from zoo.cli.errors import exit_status, message
from zoo.config.console import warn
from zoo.training import signals

__all__ = ["main", "message", "run"]


def main(command: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Run one command; on an error, print a message and end the process.

    Args:
        command: name of the command; None: the first of the arguments.
        arguments: arguments of the command; None: those of this process.

    Raises:
        SystemExit: with status 1 after an error, 130 after Ctrl-C, or the status of the signal that stopped training.
    """
    # Without a command, print the overview.
    given = list(sys.argv[1:] if arguments is None else arguments)
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

    # Run the command. Every error, an unknown command included, becomes one message, and so does a signal.
    name = f"zoo {command}" if command in COMMANDS else "zoo"
    with signals.command_signals(name) as stop:
        status = _status(command, given, name, stop)
    if status:
        sys.exit(status)


def _status(command: str, given: list[str], name: str, stop: signals.StopRequest) -> int:
    """Run a command, print the message of its error, and return the exit status."""
    try:
        _dispatch(command, given, stop)
    except KeyboardInterrupt:
        # 130 is the exit status of a shell for Ctrl-C.
        sys.stderr.write("\ninterrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of the output, such as `head`, has ended. Without this, Python would print an error on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, signals.Stopped) as error:
        if isinstance(error, Exception) and grammar.asks_for_debug(given):
            _print_traceback(error)
        elif isinstance(error, Exception) or _is_first_process():
            # The terminal may be gone, if its end was the signal.
            with suppress(OSError):
                warn(f"{name}: {message(error, command)}")
        return exit_status(error)
    return 0


def _dispatch(command: str, given: list[str], stop: signals.StopRequest) -> None:
    """Print a command's help or run it. Until it is imported and its config is composed, signals end the process."""
    grammar.check_command(command)
    if grammar.asks_for_help(given):
        sys.stdout.write(pages.command_page(command))
        return
    if not COMMANDS[command].composed:
        function = _implementation(command)
        with stop.raised("interrupted"):
            function([argument for argument in given if argument.lower() != "debug=true"])
        return

    # Not through `run`, which would add a frame to the traceback of every error.
    grammar.check(command, given)
    function, launch = _implementation(command), _launcher()

    def job(cfg: Any) -> Any:
        with signals.stop_on_signals() as request:
            try:
                with request.raised():
                    request.message = "interrupted"
                    return function(cfg)
            finally:
                request.reaction = signals.Reaction.HOLD
                request.message = "stopped between two jobs of the sweep; those before are finished"

    # Hydra writes its files before and between the jobs: signals wait until the next job begins. But a sweep whose jobs
    # are run by other processes has none here, so its signals do not wait.
    sweeps = any(argument in ("-m", "--multirun") or argument.startswith("hydra.mode=") for argument in given)
    with stop.raised() if sweeps else stop.held():
        launch(command, job, given)


def _is_first_process() -> bool:
    """Whether this is the first of the processes of a distributed run, each of which stops; only one says so."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def run(command: str, arguments: Sequence[str]) -> None:
    """Run a command from Python, such as in a notebook: ``run("train", ["model=mlp", "epochs=3"])``.

    Raises:
        ValueError: an unknown command or a malformed argument.
        Exception: any error of the command; `message` gives its one-line message.
    """
    # As in `main`, but errors are raised.
    grammar.check_command(command)
    if COMMANDS[command].composed:
        grammar.check(command, arguments)
        _launcher()(command, _implementation(command), arguments)
    else:
        _implementation(command)(list(arguments))


def _print_traceback(error: BaseException) -> None:
    """Print a traceback on standard error, for ``debug=true``; its lines may quote names from outside."""
    for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
        warn(line)


def _implementation(command: str) -> Callable[..., Any]:
    """The function that runs a command, on the composed config or on the list of arguments."""
    entry = COMMANDS[command]
    function: Callable[..., Any] = getattr(import_module(f"zoo.cli.{entry.module}"), entry.function)
    return function


def _launcher() -> Callable[[str, Callable[..., Any], Sequence[str]], None]:
    """`zoo.config.compose.launch`, imported late because Hydra is slow to import."""
    from zoo.config.compose import launch

    return launch


if __name__ == "__main__":
    main()
