"""Turn an exception into the one line that a user reads: what is wrong, and how to fix it.

The zoo raises ValueError and OSError with such a message. `zoo.config.composition_errors` translates those of Hydra and
OmegaConf. Any other exception is a bug in the zoo.
"""

import re

from zoo.config.composition_errors import config_message
from zoo.config.console import printable
from zoo.config.failed_jobs import FailedJobs
from zoo.training.signals import Stopped

MAX_LENGTH = 4000  # characters of a message
MAX_JOBS = 3  # maximum number of failed jobs that are named for each reason


def exit_status(error: BaseException) -> int:
    """The exit status of a command that ended with ``error``."""
    return error.status if isinstance(error, Stopped) else 1


def message(error: BaseException, command: str = "COMMAND") -> str:
    """The message of an error in one line: the key or file, what is wrong with it, and the fix.

    Control characters, which the names of files and the texts in checkpoints may contain, are shown as escapes.

    Args:
        error: what was raised.
        command: the command that raised it, for a reference to its help page.
    """
    text = printable(_text(error, command).strip())
    # A name from a file may be of any length.
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH // 2]} … {text[-MAX_LENGTH // 4 :]}"


def _text(error: BaseException, command: str) -> str:
    """The message before control characters are escaped."""
    # A sweep: jobs often fail for the same reason, so name the jobs of each reason together.
    if isinstance(error, FailedJobs):
        jobs: dict[str, list[str]] = {}
        for job, cause in error.errors.items():
            jobs.setdefault(_text(cause, command).strip(), []).append(job)
        return "; ".join(f"{_listed(names)} failed: {reason}" for reason, names in jobs.items())

    text = config_message(error, command)
    if text is not None:
        return text

    # A net, an input or a batch that is too large.
    if _is_out_of_memory(error):
        amount = re.search(r"allocate (\d+ bytes|[\d.]+ [KMGT]?i?B)", str(error))
        tried = f" to allocate {amount[1]}" if amount else ""
        return f"not enough memory{tried}: use a smaller net, smaller inputs, or fewer of them at a time (batch_size=)"

    # Errors of the zoo have a readable message. Everything else is unexpected.
    if isinstance(error, (ValueError, OSError, Stopped)):
        return str(error)
    first_line = str(error).strip().partition("\n")[0]
    return f"internal error: {type(error).__name__}: {first_line} (rerun with debug=true for the traceback)"


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, in Python, NumPy or PyTorch, on the CPU or on an accelerator."""
    text = str(error).lower()
    is_of_torch = isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)
    return is_of_torch or isinstance(error, MemoryError)


def _listed(jobs: list[str]) -> str:
    """The names of the first jobs, and the number of the others."""
    more = f" and {len(jobs) - MAX_JOBS} more jobs" if len(jobs) > MAX_JOBS else ""
    return ", ".join(jobs[:MAX_JOBS]) + more
