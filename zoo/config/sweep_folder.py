"""The folder of a sweep: whether its jobs are those of a repeated sweep, and which of them failed.

A repeated sweep continues in the same folder. Each job has a folder with its overrides, which the zoo writes when the
run begins, and a file ``failed.json`` if it failed. Imports the standard library and YAML only.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

OVERRIDES = Path(".hydra") / "overrides.yaml"
FAILED = "failed.json"
# Keys that do not change what is trained, so they may differ when a sweep is repeated.
NEUTRAL = ("progress", "show_test", "compare", "optimized_metric")


def overrides_of(folder: Path) -> list[str] | None:
    """The overrides of the job in a folder; None if the folder has no job."""
    try:
        if (folder / OVERRIDES).is_file():
            return [str(override) for override in yaml.safe_load((folder / OVERRIDES).read_text())]
        return list(failure_of(folder)["overrides"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None


def same_job(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether two lists of overrides train the same."""
    return _relevant(a) == _relevant(b)


def refuse_other_sweep(folder: Path, jobs: Sequence[Sequence[str]]) -> None:
    """Check that a folder contains no other sweep than the one that is about to run in it.

    Args:
        folder: the folder of the sweep.
        jobs: the overrides of each job, in the order of their numbers.

    Raises:
        FileExistsError: a job in the folder does not belong to this sweep, or the folder has a table without a sweep.
    """
    for path in sorted(folder.glob("*/"), key=lambda path: (len(path.name), path)):
        before = overrides_of(path)
        if before is None:
            continue
        # The folder of a job is its number, unless hydra.sweep.subdir= says otherwise.
        is_number = path.name.isdecimal() and path.name.isascii()
        expected = jobs[int(path.name) : int(path.name) + 1] if is_number else jobs
        if not any(same_job(before, job) for job in expected):
            raise FileExistsError(
                f"{folder} already contains a sweep, whose job {path.name} ({', '.join(_relevant(before))}) is not in "
                "this one; repeat its command to continue it, or set another hydra.sweep.dir="
            )
    if (folder / "sweep.csv").exists() and not (folder / "multirun.yaml").exists():
        raise FileExistsError(f"{folder / 'sweep.csv'} exists and would be replaced; set another hydra.sweep.dir=")


def refuse_comparison(key: str, jobs: Sequence[Sequence[str]]) -> None:
    """Check before a sweep that its jobs can be compared by the two values of ``key``, paired by seed.

    Args:
        key: the value of ``compare=``.
        jobs: the overrides of each job.

    Raises:
        ValueError: the key is ``seed``, or the jobs do not give it two values, or have only one seed.
    """
    if key == "seed":
        raise ValueError("compare=seed: jobs are paired by seed; name the key whose two values are compared")
    settings = [dict(text.lstrip("+").split("=", 1) for text in job if "=" in text) for job in jobs]
    values = {name: list(dict.fromkeys(job[name] for job in settings if name in job)) for name in (key, "seed")}
    if len(values[key]) != 2:
        raise ValueError(
            f"compare={key}: this sweep gives {key} {_counted(values[key])}, but a comparison needs 2; "
            f"write {key}=A,B, or leave compare= out"
        )
    if len(values["seed"]) < 2:
        raise ValueError(f"compare={key}: a comparison needs at least two seeds, such as seed=1,2,3")


def _counted(values: Sequence[str]) -> str:
    """How many values there are, in words: "no value", "1 value (3)", "3 values (1, 2, 3)"."""
    if not values:
        return "no value"
    return f"{len(values)} value{'s' if len(values) > 1 else ''} ({', '.join(values)})"


def record_failure(folder: Path, job: str, overrides: Sequence[str], error: str) -> None:
    """Write that a job failed into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FAILED}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({"job": job, "overrides": list(overrides), "error": error}), encoding="utf-8")
    temporary.replace(folder / FAILED)


def failure_of(folder: Path) -> dict[str, Any]:
    """What `record_failure` has written; empty if the job did not fail."""
    try:
        content = json.loads((folder / FAILED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(content) if isinstance(content, Mapping) else {}


def failures_since(folder: Path, started: float) -> dict[str, str]:
    """The jobs of a sweep that have failed since a time in seconds: name of the job -> its error."""
    paths = [path for path in folder.glob(f"*/{FAILED}") if path.stat().st_mtime >= started]
    found = [failure_of(path.parent) for path in sorted(paths, key=lambda path: (len(path.parent.name), path))]
    return {str(failure["job"]): str(failure["error"]) for failure in found if failure}


def _relevant(overrides: Sequence[str]) -> list[str]:
    """The overrides that change what is trained, sorted."""
    return sorted(text for text in overrides if text.lstrip("+").partition("=")[0] not in NEUTRAL)
