"""Choose the examples that ``zoo evaluate`` measures: the dataset, the split, and the classes of the checkpoint."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.cli.checkpoint_dataset import dataset_config, is_plain, take_shape
from zoo.cli.checkpoint_task import task_class
from zoo.cli.commands import SPLITS
from zoo.config import catalogue, schemas
from zoo.config.compose import given_keys
from zoo.data.combined import combined
from zoo.data.image_files import ImageFiles, path_key
from zoo.data.splits import Examples, InMemory, Splits
from zoo.training import data_checks

PREFIXES = {"validation": "val"}  # of the names of metrics, where they differ from the name of the split
# Keys of a dataset that do not change its examples.
NEUTRAL = {"workers", "download", "check"}
MISSING = "???"  # the value of a key that neither the command line nor a config sets


class Evaluated(NamedTuple):
    """The examples that are measured.

    Attributes:
        splits: their splits; ``splits.test`` has the examples to measure, whichever split they are.
        split: the name of the split, one of `SPLITS`.
        title: a description of the examples with their number, for the title of the table.
        name: name of the dataset, for messages.
        workers: number of processes that read images.
        is_stored: whether they are the examples on which the stored metrics of the checkpoint were measured.
        validation: the validation split, to which ``calibrate=true`` fits a temperature; None if the data have none.
        has_stored_validation: whether it is that of the stored metrics.
        notes: notes for the user, one line each.
    """

    splits: Splits
    split: str
    title: str
    name: str
    workers: int
    is_stored: bool
    validation: Examples | None
    has_stored_validation: bool
    notes: tuple[str, ...]


def load(cfg: DictConfig, about: CheckpointInfo) -> Evaluated:
    """The examples of a composed config of ``zoo evaluate``.

    Raises:
        FileNotFoundError, ValueError: no such dataset or split, or other classes or another shape than those of the
            checkpoint.
    """
    if cfg.split not in (None, *SPLITS):
        raise ValueError(f"split={cfg.split} must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    given = _given(cfg.dataset)
    node = _config(given, about)

    # Read the data. Data of the user are measured as a whole, unless they have splits or the user asks for one.
    keys = given_keys()
    is_own = "dataset.root" in keys and not _is_same_root(node, about)
    is_cut = bool(keys & {"dataset.test", "dataset.validation"})
    whole = cfg.split == "all" or (cfg.split is None and is_own and not is_cut)
    notes: list[str] = []
    if whole:
        notes = _training_examples(node, about) if is_own else []
        # Hold no examples out. Splits that the data already have, such as a folder test/, are kept.
        node.test = 0.0
        node.validation = 0.0
        node.fold = None
        node.folds = None
        # New data may lack the columns that divided those of training.
        for key in {"groups", "split_column"} - {key.removeprefix("dataset.") for key in keys}:
            node[key] = None
    data_checks.check_keys(node)
    splits = _with_single_class(data_checks.dataset(node, table=about.table), about)
    existing = splits.existing()
    split = cfg.split or _default_split(existing, whole=whole, is_test_asked="dataset.test" in keys)
    if cfg.split is None and split == "validation":
        notes.append("there is no test split, so the validation split is evaluated")
    if split != "all" and split not in existing:
        raise ValueError(f"dataset {node.name} has no {split} split; set split={' or '.join((*existing, 'all'))}")

    # Compare them with the examples that were evaluated after training. Do so before the classes are renumbered, since
    # fingerprints cover class numbers.
    stored = [
        name
        for name in ("validation", "test")
        if name in existing and _is_stored(existing[name], name, given, about, is_own=is_own)
    ]
    about.transforms().check(splits.shape, where=f"dataset {node.name}")
    existing = _with_classes(splits, about, dataset=node.name).existing()
    examples = list(existing.values()) if split == "all" else [existing[split]]
    measured = combined(examples).with_preprocess(about.transforms())
    validation = existing.get("validation")

    # Describe what is measured, and name the classes without examples.
    where = f"{node.name} ({node.root})" if is_own else node.name
    count = f"{len(measured):,} example{'s' if len(measured) != 1 else ''}"
    title = f"all of {where}, {count}" if split == "all" else f"the {split} split of {where}, {count}"
    return Evaluated(
        splits=replace(splits, train=splits.train.with_preprocess(about.transforms()), validation=None, test=measured),
        split=split,
        title=title,
        name=node.name,
        workers=node.workers,
        is_stored=split in stored,
        validation=None if validation is None else validation.with_preprocess(about.transforms()),
        has_stored_validation="validation" in stored,
        notes=(*splits.notes, *notes, *_absent(measured, about)),
    )


def _default_split(existing: Mapping[str, Examples], *, whole: bool, is_test_asked: bool) -> str:
    """The split to measure if the user names none: the test split, else the validation split, else all examples."""
    if "test" in existing or is_test_asked:
        return "test"
    if "validation" in existing:
        return "validation"
    return "all" if whole else "test"


def _given(node: Any) -> dict[str, Any]:
    """The keys of ``dataset=`` and ``dataset.KEY=`` of the command line, with unresolved values."""
    if node is None:
        return {}
    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if value != MISSING}


def _config(given: Mapping[str, Any], about: CheckpointInfo) -> DictConfig:
    """The config of the dataset: that of ``dataset=``, or else the one of the checkpoint with the given keys."""
    node = OmegaConf.structured(schemas.Dataset)
    if "source" not in given:
        node = OmegaConf.merge(node, dataset_config(about, root=given.get("root")))
    node = OmegaConf.merge(node, dict(given))
    assert isinstance(node, DictConfig)
    source = node.source
    keys = given_keys()

    # A folder replaces that of the checkpoint's dataset, which must have one. It is the user's: nothing is put there.
    if "root" in given and "source" not in given:
        if "root" not in source:
            raise ValueError(
                f"dataset.root={given['root']}: the checkpoint was trained on {node.name}, which has no root; add "
                "dataset=image_folder or dataset=npz"
            )
        node.download = "download" in given and node.download

    # The kind of targets is that of the checkpoint: a guess from few examples could differ.
    targets = task_class(about).targets
    if targets != "none" and node.get("target_type") == "auto":
        node.target_type = targets

    # The shape is that of the checkpoint, if the source takes one.
    take_shape(node, about.transforms().shape)
    # So is the number of classes, if the source takes it. The other sources find the classes themselves and may have
    # fewer than the checkpoint, so theirs is not checked.
    if given and "dataset.num_classes" not in keys:
        if "num_classes" not in source:
            node.num_classes = None
        elif node.num_classes is None and about.classes:
            node.num_classes = len(about.classes)
    return node


def _is_same_root(node: DictConfig, about: CheckpointInfo) -> bool:
    """Whether the dataset and its root are those of training.

    A dataset in the zoo's data folder counts as the same in every folder.
    """
    stored_root = about.dataset_config.get("root")
    if node.name != about.dataset_config.get("name") or not stored_root:
        return False
    # The root in the checkpoint may be an interpolation such as ${oc.env:ZOO_DATA,data}. It is not resolved, since the
    # checkpoint is not trusted: compare it as text with that of conf/dataset.
    if not is_plain(stored_root):
        return bool(catalogue.dataset_config(node.name).get("root") == stored_root)
    return Path(node.root).resolve() == Path(stored_root).resolve()


def _training_examples(node: DictConfig, about: CheckpointInfo) -> list[str]:
    """A note if the data contain the training examples of the checkpoint, for example in a folder that was moved."""
    if "train" not in about.splits:
        return []
    # Split them as for training. Images need not be checked for that.
    node = deepcopy(node)
    node.check = node.on_bad_image == "skip"
    try:
        examples = data_checks.dataset(node, table=about.table).train
    except ValueError:
        return []  # they cannot be split like that
    if {"count": len(examples), "digest": examples.digest()} != about.splits["train"]:
        return []
    return [f"{len(examples):,} of the examples were used for training; split=test evaluates only the test split"]


def _is_stored(
    examples: Examples, split: str, given: Mapping[str, Any], about: CheckpointInfo, *, is_own: bool
) -> bool:
    """Whether these are the examples on which the stored metrics of the checkpoint were measured."""
    # Without stored fingerprints, only the dataset of the checkpoint with an unchanged config is known to match.
    if not about.splits:
        return not set(given) - NEUTRAL
    # The fingerprint of image files covers their paths and classes, not their content: other images may have the same
    # paths.
    if is_own and not isinstance(examples, InMemory):
        return False
    fingerprint = {"count": len(examples), "digest": examples.digest()}
    return about.splits.get(split) == fingerprint


def _with_single_class(splits: Splits, about: CheckpointInfo) -> Splits:
    """The same splits, labeled if all images are in the folder of one class of the checkpoint.

    One class is too few for training, so such images come without labels.
    """
    parts = list(splits.existing().values())
    if splits.classes or not about.classes or not all(isinstance(part, ImageFiles) for part in parts):
        return splits
    # Take the first folder of each path, with Unicode in NFC as in class names; it is "" for an image outside the
    # class folders, which then matches no class.
    paths = [path_key(file, part.root) for part in parts if isinstance(part, ImageFiles) for file in part.files]
    folders = {path.rpartition(b"/")[0].partition(b"/")[0].decode(errors="surrogateescape") for path in paths}
    if len(folders) != 1 or not folders <= set(about.classes):
        return splits
    notes = tuple(note for note in splits.notes if splits.unlabeled not in note)
    return replace(splits, classes=tuple(folders), unlabeled="", notes=notes)


def _with_classes(splits: Splits, about: CheckpointInfo, *, dataset: str) -> Splits:
    """The splits with the class numbers of the checkpoint, which may have more classes.

    A checkpoint without classes whose task needs no targets fits every dataset.

    Raises:
        ValueError: a class of the data that the checkpoint does not have.
    """
    targets = task_class(about).targets
    needs_targets = targets != "none"
    if needs_targets and splits.classes and splits.multi_label != (targets == "labels"):
        found = "any number of labels" if splits.multi_label else "one class"
        expected = "any number of labels" if targets == "labels" else "one class"
        raise ValueError(f"dataset {dataset} has {found} per example, the checkpoint was trained with {expected}")
    if list(splits.classes) == about.classes or not (needs_targets or about.classes):
        return splits
    if not splits.classes or not set(splits.classes) <= set(about.classes):
        found = f"the classes {', '.join(splits.classes)}" if splits.classes else "no classes"
        reason = f" ({splits.unlabeled})" if splits.unlabeled else ""
        raise ValueError(
            f"dataset {dataset} has {found}{reason}; the checkpoint has {', '.join(about.classes) or 'none'}"
        )
    return splits.with_classes(about.classes)


def _absent(examples: Examples, about: CheckpointInfo) -> list[str]:
    """A note about the classes of the checkpoint that have no examples."""
    labels = examples.labels()
    if not about.classes or labels.is_floating_point():
        return []
    present = set(labels.tolist())
    absent = [name for number, name in enumerate(about.classes) if number not in present]
    if not absent:
        return []
    shown = ", ".join(absent[:10]) + (", …" if len(absent) > 10 else "")
    return [f"no examples of {shown}"]
