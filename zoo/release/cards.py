"""Model cards in Markdown: architecture, results, data, training and limits of a checkpoint.

May import protocols, config, data, models, checkpoints and the other files of this folder.
"""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import tomllib

from zoo import models
from zoo.checkpoints.checkpoint import CheckpointInfo, info
from zoo.config import catalogue
from zoo.config.targets import class_name
from zoo.data.augment import Augment
from zoo.protocols import shape_text
from zoo.release import claims, tables
from zoo.release.claims import Claim

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"  # maintainers work in a checkout
NO_AUGMENTATION = asdict(Augment())
ARCHITECTURE = "The figure in words"  # begins the paragraph on the architecture in a model module's docstring


def card(name: str, entry: Mapping[str, Any]) -> str:
    """The card of a checkpoint.

    Args:
        name: name of the checkpoint.
        entry: its entry in the index, with a claim.
    """
    # A card has three sources: the header of the file, the YAML of the model, the claim of the recipe.
    about = info(name)
    model = catalogue.model_config(about.name)["about"]
    claim = claims.parse(entry["claim"])
    sections = [
        f"# {name}",
        f"{model['title']}. {model['paper']}.",
        _numbers(claim, entry),
        *_architecture(about.net),
        _deviations([*model["deviations"], *claim.deviations]),
        _data(about),
        _training(name, entry, about),
        _use(name, entry),
        _limits(about),
        "**License.** Weights: MIT, like the code. The license of the data is given under Data.",
    ]
    return "\n\n".join(sections) + "\n"


def _numbers(claim: Claim, entry: Mapping[str, Any]) -> str:
    """A table of our result, that of the shipped checkpoint, the published numbers and the history."""
    # List the values of all seeds, which shows that the checkpoint was not picked for its result.
    seeds = zip(entry["seeds"], entry["values"], strict=True)
    each = ", ".join(f"seed {seed}: {claim.text(value)}" for seed, value in seeds)
    its_paper, best_known = (tables.conditions(claim, entry, number) for number in (claim.published, claim.best_known))
    rounded = ", weights rounded to float16" if _is_half_precision(entry) else ""
    lines = [
        f"| {claim.title} | |",
        "|---|---|",
        f"| ours | {claim.spread(entry['values'])} ({each}) |",
        f"| this checkpoint (seed {entry['seeds'][0]}{rounded}) | {claim.text(claim.value(entry['metric']))} |",
        f"| 95 % interval | {claim.interval_text(claim.interval(entry))}, over seeds and test images |",
        f"| distortions | {entry['distortions']} |",
        f"| its paper | {its_paper} |",
        f"| best known | {best_known} |",
        f"| compared with its paper / best known | {tables.compared(claim, entry)} |",
    ]
    # Earlier test results belong to the result.
    for earlier in tables.history("", claim, ""):
        lines.append(
            f"| earlier result | {earlier['earlier result']}: {earlier['with']}; {earlier['why it was changed']} |"
        )
    return "\n".join(lines)


def _architecture(net: Mapping[str, Any]) -> list[str]:
    """A description of the architecture, and the call that creates the net."""
    kind = class_name(net["_target_"], "model")
    arguments = ", ".join(f"{key}={value!r}" for key, value in net.items() if key != "_target_")
    return [*architecture(kind), f"**Net.** `{kind}({arguments})`"]


def architecture(kind: str) -> list[str]:
    """A description of the architecture of a class of `zoo.models`.

    It is the paragraph that begins with `ARCHITECTURE` in the docstring of the module that defines the class. If an
    indented paragraph follows, it is a diagram and is copied, too.
    """
    # Split the docstring of the module into paragraphs.
    module = inspect.getmodule(getattr(models, kind))
    paragraphs = inspect.cleandoc((module and module.__doc__) or "").split("\n\n")

    # Take the paragraph without its first words, on one line.
    first = next(k for k, text in enumerate(paragraphs) if text.startswith(ARCHITECTURE))
    words = " ".join(paragraphs[first].partition(":")[2].split())
    sections = [f"**Architecture.** {words[0].upper()}{words[1:]}"]

    # Copy the diagram unchanged: Markdown shows indented lines as code.
    after = paragraphs[first + 1 :]
    if after and after[0].startswith("    "):
        sections.append(after[0])
    return sections


def _deviations(deviations: list[str]) -> str:
    """Deviations of the model and of the recipe from the paper."""
    listed = "\n".join(f"- {deviation}" for deviation in deviations) or "None."
    return f"**Deviations from the paper**\n\n{listed}"


def _data(about: CheckpointInfo) -> str:
    """The dataset, its license, the preprocessing and the augmentation."""
    # Leave out mean 0 and standard deviation 1, which change nothing.
    preprocess = about.transforms()
    scaling = f"divided by {preprocess.scale:g}"
    if set(preprocess.mean) != {0.0} or set(preprocess.std) != {1.0}:
        mean = ", ".join(f"{value:.4f}" for value in preprocess.mean)
        std = ", ".join(f"{value:.4f}" for value in preprocess.std)
        scaling += f", minus the mean {mean}, divided by the standard deviation {std}"

    if preprocess.whitening != "none":
        scaling += f", whitened by the {preprocess.whitening} filter (`zoo.data.whitening`)"

    # List the augmentations that are switched on.
    settings = about.dataset_config.get("augment", {})
    used = [
        f"{key} {value:g}"
        for key, value in settings.items()
        if not isinstance(value, str) and value != NO_AUGMENTATION[key]
    ]
    augmented = f"Augmentation (`dataset.augment`): {', '.join(used)}." if used else "No augmentation."
    shape = shape_text(preprocess.shape)
    return f"**Data.** {about.dataset}, {about.license}. Inputs are {shape}, {scaling}. {augmented}"


def _training(name: str, entry: Mapping[str, Any], about: CheckpointInfo) -> str:
    """The command, its run time, the hardware and the versions."""
    command = f"`zoo train experiment={name} seed={entry['seeds'][0]}`"
    versions = ", ".join(f"{library} {version}" for library, version in about.versions.items())
    return f"**Training.** {command}, about {entry['minutes']:g} minutes on {entry['hardware']}; {versions}."


def _use(name: str, entry: Mapping[str, Any]) -> str:
    """How to load the checkpoint, and its size."""
    size = f"{entry['parameters']:,} parameters, {entry['size'] / 1024:,.0f} KiB"
    if _is_half_precision(entry):
        size += ", stored as float16"
    if name in left_out_of_wheel():
        size += "; in the source repository only, not in the wheel"
    return f"**Use.** `zoo.load({name!r})`, or `zoo predict checkpoint={name} input=…`. {size}."


def left_out_of_wheel() -> set[str]:
    """The names of the checkpoints that pyproject.toml excludes from the wheel."""
    build = tomllib.loads(PYPROJECT.read_text())["tool"]["hatch"]["build"]
    paths = [PurePosixPath(path) for path in build["targets"]["wheel"]["exclude"]]
    return {path.stem for path in paths if path.suffix == ".safetensors"}


def _is_half_precision(entry: Mapping[str, Any]) -> bool:
    """Whether the weights are stored as float16: in fewer than three bytes per parameter."""
    smaller: bool = entry["size"] < 3 * entry["parameters"]
    return smaller


def _limits(about: CheckpointInfo) -> str:
    """A warning about the inputs for which the net was not tested."""
    if not about.classes:
        return f"**Limits.** Trained on {about.dataset} only; not tested on other data."
    return (
        f"**Limits.** Always predicts one of the {len(about.classes)} classes of {about.dataset}, even for an "
        "image that belongs to none of them; not tested on other data or against adversarial inputs."
    )
