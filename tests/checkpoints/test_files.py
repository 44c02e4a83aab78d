"""A file is written completely or not at all, and nothing but a regular file is ever replaced."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zoo.checkpoints import files
from zoo.checkpoints.files import check_output, remove_unfinished, replacing

PID_MAX = 2**31 - 1  # no process has this number
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def write(path: Path, text: str = "new") -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """The usual umask, also where the tests run with another."""
    before = os.umask(0o022)
    yield
    os.umask(before)


# Permissions


@pytest.mark.usefixtures("umask")
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("private at first, as safetensors writes it")
        temporary.chmod(0o600)
    assert mode_of(tmp_path / "a") == 0o644
    os.umask(0o077)
    write(tmp_path / "b")
    assert mode_of(tmp_path / "b") == 0o600


@pytest.mark.usefixtures("umask")
def test_a_replaced_file_keeps_its_permissions(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "a").chmod(0o640)
    write(tmp_path / "a", "newer")
    assert (mode_of(tmp_path / "a"), (tmp_path / "a").read_text()) == (0o640, "newer")


# Links, devices, pipes, folders


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text("old")
    (tmp_path / "link").symlink_to(Path("deep") / "file")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "deep" / "file").read_text() == "new"


@is_root
def test_a_device_is_written_to_and_stays(tmp_path):
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    check_output(device, overwrite=True)
    write(device)
    assert stat.S_ISCHR(device.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


def test_a_pipe_gets_the_whole_content(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write(tmp_path / "pipe", "all of it")
    reader.join()
    assert got == ["all of it"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_full_device_is_told(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with pytest.raises(OSError, match=r"/dev/full could not be written \(\[Errno 28\] No space left"):
        write(Path("/dev/full"))
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_redirected_standard_output_is_appended_to(tmp_path):
    code = "from zoo.checkpoints.files import replacing\nwith replacing('/dev/stdout') as t: t.write_text('two')"
    with (tmp_path / "log").open("w") as log:
        log.write("one ")
        log.flush()
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "one two"


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"a could not be written .*it is a folder"):
        write(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# Names


def test_the_longest_name_that_the_disk_takes_is_written(tmp_path):
    path = tmp_path / ("é" * 125 + ".json")
    check_output(path, overwrite=False)
    write(path)
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/a", "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name, tmp_path):
    with pytest.raises(OSError, match="cannot be written"):
        check_output(tmp_path / name, overwrite=False)
    assert not list(tmp_path.iterdir())


# Errors


def test_an_error_of_computing_stays_what_it_is(tmp_path):
    for error in (RuntimeError("shapes"), ValueError("x"), FileNotFoundError(errno.ENOENT, "gone", "input.png")):
        with pytest.raises(type(error)) as caught, replacing(tmp_path / "a"):
            raise error
        assert caught.value is error
    for error in (MemoryError(), OSError(errno.ENOMEM, "out of memory"), FileNotFoundError("input=x: no such file")):
        with pytest.raises(type(error)) as caught, replacing(tmp_path / "a"):
            raise error
        assert caught.value is error
    assert not list(tmp_path.iterdir())


def test_what_a_writer_raises_on_a_full_disk_is_an_error_of_writing(tmp_path):
    full = replacing(tmp_path / "a", errors=[RuntimeError])
    with pytest.raises(OSError, match=r"a could not be written \(unexpected pos\)"), full:
        raise RuntimeError("unexpected\npos")
    for error in (OSError(errno.ENOSPC, "No space left on device"), OSError("encoder error")):
        with pytest.raises(OSError, match="a could not be written"), replacing(tmp_path / "a"):
            raise error


def test_of_two_outputs_only_the_one_that_failed_is_named(tmp_path):
    with (
        pytest.raises(OSError, match="written") as caught,
        replacing(tmp_path / "sheet"),
        replacing(tmp_path / "table"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value).startswith(f"{tmp_path / 'table'} could not be written")
    assert "sheet" not in str(caught.value)


def test_folders_made_for_a_file_that_was_not_written_are_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a" / "b" / "c"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    write(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").read_text() == "new"


# Temporary files of killed processes


def leftover(path: Path, pid: int, host: str = files.HOST) -> Path:
    """A temporary file of another process."""
    temporary = path.with_name(f".{path.name}.{pid}-{host}-0.tmp")
    temporary.write_text("half")
    return temporary


def test_the_next_call_removes_what_a_killed_one_left(tmp_path):
    target = tmp_path / "predictions.csv"
    dead = [leftover(target, PID_MAX), target.with_name(f".predictions.csv.{PID_MAX}.tmp")]
    dead[1].write_text("half, by an earlier version")
    alive = leftover(target, os.getppid())
    elsewhere = leftover(target, PID_MAX, host="0" * 8)
    other = leftover(tmp_path / "other.csv", PID_MAX)
    own = tmp_path / ".predictions.csv.tmp"
    own.write_text("the user's")
    write(target)
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in (alive, elsewhere, other, own, target))


def test_resuming_removes_what_killed_runs_left_on_any_host(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    last = tmp_path / "checkpoints" / "last.ckpt"
    dead = [leftover(last, PID_MAX), leftover(last, PID_MAX, host="0" * 8), leftover(last, os.getpid(), host="0" * 8)]
    alive = leftover(last, os.getppid())
    own = tmp_path / ".notes.tmp"
    own.write_text("the user's")
    remove_unfinished(tmp_path)
    assert not any(path.exists() for path in dead)
    assert alive.exists()
    assert own.exists()


def test_threads_may_write_the_same_file(tmp_path):
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"


# Outputs of commands


def test_an_output_that_is_read_is_refused_whatever_its_name(tmp_path):
    (tmp_path / "in.csv").write_text("x")
    (tmp_path / "soft.csv").symlink_to("in.csv")
    os.link(tmp_path / "in.csv", tmp_path / "hard.csv")
    for name in ("in.csv", "soft.csv", "hard.csv"):
        with pytest.raises(ValueError, match="part of the input"):
            check_output(tmp_path / name, overwrite=True, inputs=[tmp_path / "none", tmp_path / "in.csv"])
    check_output(tmp_path / "out.csv", overwrite=False, inputs=[tmp_path / "in.csv"])


def test_files_of_a_run_are_no_outputs(tmp_path):
    for name in ("config.yaml", "metrics.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="belongs to the run"):
        check_output(tmp_path / "metrics.json", overwrite=True, suffixes=[".json"])
    # Nor are those that the run has not written yet.
    (tmp_path / "fit-filters.png").touch()
    for name in ("splits.json", "curves.png", "fit-filters.png"):
        with pytest.raises(ValueError, match="belongs to the run"):
            check_output(tmp_path / name, overwrite=True)
    check_output(tmp_path / "my-samples.png", overwrite=False)
    (tmp_path / "config.yaml").unlink()
    check_output(tmp_path / "metrics.json", overwrite=True, suffixes=[".json"])


def test_an_output_must_have_the_suffix_of_its_format(tmp_path):
    with pytest.raises(ValueError, match=r"output=x.npz must be a .csv file"):
        check_output("x.npz", overwrite=False, suffixes=[".csv"])
    with pytest.raises(ValueError, match=r"output=/dev/null must be a .png or .npz file"):
        check_output("/dev/null", overwrite=False, suffixes=[".png", ".npz"])
    check_output("/dev/null", overwrite=False, suffixes=[".csv"])
    check_output(tmp_path / "x.CSV", overwrite=False, suffixes=[".csv"])


def test_an_output_that_cannot_be_written_is_refused_beforehand(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    cases = {
        "folder": "is a folder",
        "file/x": "is a file, not a folder",
        "file/x/y": "is a file, not a folder",
        "dangling": "link to a file that does not exist",
        "loop": "cannot be written",
        "": "is a folder",
    }
    for name, reason in cases.items():
        with pytest.raises(OSError, match=reason):
            check_output(tmp_path / name, overwrite=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="no permission to write to the folder"):
        check_output(tmp_path / "new" / "x", overwrite=False)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).is_dir())
    with pytest.raises(PermissionError, match="file is write-protected"):
        check_output(tmp_path / "file", overwrite=True)
