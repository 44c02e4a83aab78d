"""Write files atomically: completely or not at all. Imports nothing from the zoo.

A link is written through: the file that it leads to is replaced, the link stays. A device or a pipe is never replaced:
the finished content is written to it.
"""

import errno
import itertools
import os
import platform
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Temporary files are called .NAME.PID-HOST-NUMBER.tmp. Earlier versions left HOST and NUMBER out. A format that needs a
# certain suffix may append it.
HOST = f"{zlib.crc32(platform.node().encode()):08x}"
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)(-(?P<host>[0-9a-f]{8})-\d+)?\.tmp(\.\w+)?", re.DOTALL)
NUMBERS = itertools.count()  # keeps threads that write the same file apart
MAX_NAME = 150  # bytes of a file's name that the name of its temporary file contains
# System errors without a file name that do not come from writing: no memory, too many open files.
NOT_OF_WRITING = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
# The files at the top of a run folder, except for the plots of stages: no output of another command may replace them.
RUN_FILES: set[str] = {
    *("config.yaml", "preprocess.json", "splits.json", "metrics.json", "metrics.csv", "model.safetensors"),
    *("curves.png", "confusion.png", "confusion.csv", "per_class.csv", "report.html"),
}
STAGE_PLOT = re.compile(r".+-(filters|reconstructions|latent|features|class-entropy|chains|samples)\.png")


class NotWrittenError(OSError):
    """A file could not be written; an existing one is unchanged. A device or a pipe may have got a part of it."""


@contextmanager
def replacing(path: str | Path, *, sync: bool = True, errors: Sequence[type[Exception]] = ()) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; if the block succeeds, the temporary file replaces
    ``path``.

    A new file gets the permissions that the umask leaves, a replaced file keeps its own. Temporary files of the same
    path that killed processes left are deleted.

    Args:
        path: the file to write. Its folder is created if it does not exist. If it is a link, the file that it leads to
            is replaced. A device or a pipe gets the content once it is complete.
        sync: wait until the content is on disk before the file is renamed.
        errors: exceptions other than OSError that the block raises if it cannot write, such as torch's RuntimeError.

    Raises:
        NotWrittenError: the file could not be written, such as on a full disk. An existing file is left untouched.
        Exception: what the block raises for any other reason, unchanged.
    """
    if is_stream(path):
        with _streaming(Path(path)) as temporary:
            yield temporary
        return

    # Follow links, and name the temporary file after the file that they lead to.
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{_short(target.name)}.{os.getpid()}-{HOST}-{next(NUMBERS)}.tmp")
    kinds: tuple[type[Exception], ...] = (OSError, *errors)
    made: list[Path] = []
    try:
        made = _make_parents(target)
        _remove_leftovers(target)
        mode = _permissions(target, temporary)
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        # Sync before renaming: after a power cut there is either the old file or the new one.
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
        made = []
    except kinds as error:
        if _is_of_writing(error, target, temporary):
            raise _not_written(path, error) from error
        raise
    finally:
        with suppress(OSError):  # there is none if the path itself is invalid
            temporary.unlink()
        # Remove the folders that were created for a file that was not written, unless they have other files by now.
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def check_output(
    path: str | Path,
    *,
    overwrite: bool,
    suffixes: Sequence[str] = (),
    inputs: Sequence[str | Path] = (),
    instead: str = "another output=",
) -> None:
    """Refuse an output that cannot or must not be written, before anything is computed.

    Args:
        path: the file to write.
        overwrite: whether an existing file may be replaced.
        suffixes: the suffixes that the file may have, such as ``.csv``, in lower case; empty for any. A device or a
            pipe may have any name if only one suffix is allowed.
        inputs: the files that the command reads.
        instead: what a message tells the user to use in place of an output that is an input or belongs to a run.

    Raises:
        ValueError: another suffix, or the file is one that the command reads or that belongs to a run.
        FileExistsError: it exists, and ``overwrite`` is off.
        OSError: it cannot be written, for example because it is a folder.
    """
    output = Path(path)
    streams = is_stream(output)
    if suffixes and output.suffix.lower() not in suffixes and not (streams and len(suffixes) == 1):
        raise ValueError(f"output={output} must be a {' or '.join(suffixes)} file")
    # Nothing is lost by writing to a device.
    if streams:
        return

    # The output must not replace an input, also not under another name, such as a link.
    _check_place(output)
    status = output.stat() if output.exists() else None
    if status and any(_is_file(status, other) for other in inputs):
        raise ValueError(f"{output} is part of the input and would be replaced; use {instead}")
    # Nor may it be a file of a run: a metrics.json, for example, would mark the run as finished.
    target = output.resolve()
    is_of_run = target.name in RUN_FILES or (STAGE_PLOT.fullmatch(target.name) and output.exists())
    if is_of_run and (target.parent / "config.yaml").is_file():
        raise ValueError(f"{output} belongs to the run in {target.parent}; use {instead}")
    if not output.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{output} exists; add overwrite=true to replace it, or name another output=")
    if not os.access(output, os.W_OK):
        raise PermissionError(f"{output} is write-protected; use another output=")


def _is_file(status: os.stat_result, path: str | Path) -> bool:
    """Whether a path leads to the file with this status."""
    try:
        return os.path.samestat(status, os.stat(path))  # noqa: PTH116 - a command may have 100,000 inputs
    except OSError:
        return False


def is_stream(path: str | Path) -> bool:
    """Whether a path leads to a character device or a pipe: content is written to it, and it is never replaced."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    # The standard output of a process may be redirected to a file.
    inherited = str(Path(path).absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or (stat.S_ISREG(mode) and inherited)


def remove_unfinished(folder: str | Path) -> None:
    """Delete the temporary files of `replacing` under ``folder``, except for those of living processes of this host.

    Processes of other hosts cannot be looked up, so the folder must be locked: none of them may be writing in it.
    """
    for temporary in Path(folder).rglob(".*.tmp*"):
        match = TEMPORARY.fullmatch(temporary.name)
        is_local = match and match["host"] in (None, HOST)
        if match and not (is_local and _is_alive(int(match["pid"]))):
            temporary.unlink(missing_ok=True)


def _check_place(output: Path) -> None:
    """Raise OSError unless a file of this path can be written."""
    # The path itself. A folder, a disk or a socket is not replaced by a file.
    try:
        mode = output.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except NotADirectoryError as error:
        raise NotADirectoryError(f"output={output}: a part of the path is a file, not a folder") from error
    except (OSError, ValueError) as error:  # such as a name that is too long, or a link to itself
        reason = error.strerror if isinstance(error, OSError) else error
        raise OSError(f"output={output} cannot be written ({reason})") from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"output={output} is a folder; name a file in it")
    if mode and not stat.S_ISREG(mode):
        raise OSError(f"output={output} is not a regular file; use another output=")
    if not mode and output.is_symlink():
        raise FileNotFoundError(f"output={output} is a link to a file that does not exist; use another output=")

    # Its folder, or the closest one that exists already.
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"output={output}: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"output={output}: no permission to write to the folder {folder}; use another output=")


@contextmanager
def _streaming(path: Path) -> Iterator[Path]:
    """Yield a temporary path; if the block succeeds, its content is written to a device or a pipe."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "content"
        yield temporary
        try:
            # Append, since the standard output may be a file that has content.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
            with os.fdopen(descriptor, "wb") as stream, temporary.open("rb") as source:
                shutil.copyfileobj(source, stream)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _not_written(path, error, kept="part of the output may have been written") from error


def _make_parents(target: Path) -> list[Path]:
    """Create the folder of a file. Returns the folders that did not exist, the innermost first."""
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_leftovers(target: Path) -> None:
    """Delete the temporary files of ``target`` that killed processes of this host left."""
    prefix = f".{_short(target.name)}."
    with os.scandir(target.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    for name in names:
        match = TEMPORARY.fullmatch(name)
        if match and match["host"] in (None, HOST) and not _is_alive(int(match["pid"])):
            target.with_name(name).unlink(missing_ok=True)


def _permissions(target: Path, temporary: Path) -> int:
    """The permissions that ``target`` must get: its own if it exists, otherwise those of a new file in its folder.

    Raises OSError if no file can be created in the folder, or ``target`` is a folder.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    # Create a file to see what the umask, or the rules of the folder, leave of its permissions.
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        mode = os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)
        temporary.unlink()
    with suppress(FileNotFoundError):
        mode = target.stat().st_mode
    return stat.S_IMODE(mode)


def _is_of_writing(error: Exception, target: Path, temporary: Path) -> bool:
    """Whether an error within `replacing` says that the file could not be written."""
    # The caller has listed this exception as an error of writing.
    if not isinstance(error, OSError):
        return True
    if isinstance(error, NotWrittenError):
        return False
    # Errors of opening and renaming have a file name. Those of writing have none.
    if error.filename is not None:
        own = {os.fspath(target), os.fspath(temporary), *map(os.fspath, target.parents)}
        return (
            os.fsdecode(error.filename) in own
            or TEMPORARY.fullmatch(Path(os.fsdecode(error.filename)).name) is not None
        )
    return type(error) in (OSError, IsADirectoryError) and error.errno not in NOT_OF_WRITING


def _not_written(
    path: str | Path, error: Exception, *, kept: str = "an existing file is left untouched"
) -> NotWrittenError:
    """The error that says in one line why a file could not be written, and what is there now."""
    reason = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:
        reason = f"[Errno {error.errno}] {error.strerror}"
    return NotWrittenError(f"{path} could not be written ({reason[:200]}); {kept}")


def _short(name: str) -> str:
    """A file name cut to `MAX_NAME` bytes, so that the name of its temporary file is not too long."""
    return os.fsdecode(os.fsencode(name)[:MAX_NAME])


def _is_alive(pid: int) -> bool:
    """Whether a process of this host may still run."""
    if os.name != "posix":
        return True  # on Windows, os.kill would end the process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # a process of another user
    return True
