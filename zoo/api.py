"""The public functions of ``import zoo``: models, checkpoints and datasets by name.

This module imports the catalogue only. Each function imports what else it needs, so `list_models` does not import
torch, and `create` does not import Hydra.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zoo.config import catalogue

SEED = 1  # the default of `zoo train`

if TYPE_CHECKING:
    from torch import nn

    from zoo.checkpoints.description import CheckpointInfo
    from zoo.data.splits import Splits
    from zoo.protocols import Net
    from zoo.training.from_python import Result
    from zoo.training.given_config import Data, Validation

    class NetModule(Net, nn.Module):
        """For type checkers: a `torch.nn.Module` with the methods of `zoo.protocols.Net`."""


def list_models(pattern: str | Sequence[str] = "*") -> list[str]:
    """The names of the models, sorted: what `create` and ``model=`` take.

    Args:
        pattern: a shell pattern, such as ``res*``, or several, of which a name must match one; "*" matches all.
    """
    patterns = [pattern] if isinstance(pattern, str) else pattern
    return [name for name in catalogue.list_models() if any(fnmatchcase(name, each) for each in patterns)]


def list_checkpoints() -> list[str]:
    """The names of the checkpoints in the index, sorted: what `load` and ``checkpoint=`` take."""
    return catalogue.list_checkpoints()


def create(name: str, *, weights: str | None = None, **overrides: Any) -> NetModule:
    """Create a model by name, with random or pretrained weights. The head is random in both cases.

    Args:
        name: one of `list_models`.
        weights: None, or what `zoo.checkpoints.pretrained.load` takes, such as IMAGENET1K_V1.
        overrides: arguments of its net, such as ``num_classes=10, in_shape=(1, 28, 28)``. Other arguments have the
            values of the model's YAML, or else the defaults of the constructor.

    Raises:
        ValueError: an unknown model, an argument that the net does not take, or a wrong value of one.
        FileNotFoundError, ValueError: raised by `zoo.checkpoints.pretrained.load`.
    """
    from zoo.checkpoints import net_configs
    from zoo.config.build import build

    # Leave out the arguments that the YAML takes from a dataset ("${dataset.shape}"), since there is none here.
    node = catalogue.model_config(name)["net"]
    fixed = {key: value for key, value in node.items() if not str(value).startswith("${")}
    config = {**fixed, **overrides}
    net: NetModule = build(config, where=f"model {name}")
    net_configs.record(net, name, config)
    if weights is not None:
        from zoo.checkpoints import pretrained

        pretrained.load(net, weights)
    return net


def load(checkpoint: str | Path) -> NetModule:
    """The trained net of a checkpoint, in eval mode, on the CPU.

    Args:
        checkpoint: a name of `list_checkpoints`, a ``.safetensors`` file, a run folder, or ``hf://OWNER/NAME@REVISION``
            on the Hugging Face hub (extra ``hub``); REVISION is a branch, tag or commit. Without @REVISION, it is the
            main branch.

    Raises:
        FileNotFoundError: no such name, file or repository, or an unfinished run. For an unknown name, the message
            lists similar names, or all names if none is similar.
        ValueError: not a checkpoint of the zoo, a damaged one, one whose weights do not fit its net, or one with
            code of a package that is not trusted (`zoo.trust`). Also if the extra ``hub`` is needed and not installed.
    """
    from zoo.checkpoints import net_configs
    from zoo.checkpoints.checkpoint import open_checkpoint

    net, about = open_checkpoint(checkpoint)
    net_configs.record(net, about.name, about.net)
    return cast("NetModule", net)


def info(checkpoint: str | Path) -> CheckpointInfo:
    """The description of a checkpoint: model, preprocessing, classes, metrics, command and more.

    Only the header of the file is read, so damaged weights are not detected. Arguments and errors are otherwise those
    of `load`.
    """
    from zoo.checkpoints import checkpoint as checkpoints

    return checkpoints.info(checkpoint)


def dataset(name: str, **overrides: Any) -> Splits:
    """Load a dataset: the same training, validation and test split as in `zoo train`.

    With ``labeled_examples=N``, the training split has only the N examples whose labels `zoo train` keeps with
    ``seed=1``.

    Args:
        name: one of ``conf/dataset``, such as digits or mnist.
        overrides: other keys of the dataset, such as ``validation=10000, root="data"``.

    Returns:
        A `zoo.data.splits.Splits`: ``.train``, ``.validation`` and ``.test`` (None if there is no such split), and
        ``.classes``. A split that is held in memory has the raw inputs ``.x`` and the targets ``.y``; images in files
        are read batch by batch, with ``batch(indices)``. A plain `torch.utils.data.DataLoader` takes every split.

    Raises:
        ValueError: an unknown dataset or key, or a wrong value.
        FileNotFoundError, ValueError: raised by the source of the data.
    """
    from omegaconf.errors import OmegaConfBaseException

    from zoo.config.build import wrong_type
    from zoo.config.compose import compose
    from zoo.training.checks import data_checks
    from zoo.training.given_config import readable_errors

    # The names are those of the YAML files.
    names = catalogue.list_datasets()
    if name not in names:
        raise ValueError(f"no dataset {name!r}; {catalogue.suggest(name, names)}")

    # Compose the dataset's config as the command line would, and set the given keys in it.
    node = compose("train", [f"dataset={name}"]).dataset
    known = [str(key) for key in node]
    unknown = next((key for key in overrides if key not in known), None)
    if unknown is not None:
        raise ValueError(f"dataset {name} has no key {unknown!r}; {catalogue.suggest(unknown, known)}")
    with readable_errors():
        try:
            node.update(overrides)
        except OmegaConfBaseException as error:
            raise ValueError(wrong_type(str(error.full_key), str(error.msg))) from error
        data_checks.check_keys(node)
        splits = data_checks.dataset(node)
    return splits if node.labeled_examples is None else splits.keep_labels(node.labeled_examples, seed=SEED)


def train(
    net: str | nn.Module,
    data: Data,
    *,
    stage: str | Sequence[str] | None = None,
    validation_data: Validation | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 1,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> Result:
    """Train a net, as ``zoo train`` does: the same keys give the same weights, to the bit.

    The global random number generators of the program are seeded while it trains, and restored afterwards. If several
    threads call this function at the same time, they train one after another.

    Args:
        net: the name of a model of `list_models`, which is created; or any `torch.nn.Module`, trained in place.
        data: the name of a dataset; `zoo.data.splits.Splits`; a pair (x, y) of tensors, NumPy arrays or pandas tables;
            inputs x alone, for training without labels; or a ``DataLoader``, whose inputs reach the net as they are.
            x is N x features or N x channels x height x width; uint8 are pixels. y has N class numbers (integers), N or
            N x T target values (floating-point numbers) or, with ``stage="multi_label"``, N x K zeros and ones.
        stage: a file of ``conf/stage``, or several, trained in this order. None: the stages of the model's config; for
            a `torch.nn.Module`, classify, multi_label or regress, as the targets require; data without labels need a
            stage here.
        validation_data: for the name of a dataset, a fraction (< 1) or number of the training examples to hold out; for
            tensors and arrays, the same or a pair (x, y); for a ``DataLoader``, another one; not for Splits. None: for
            the name of a dataset, as its config says; for Splits, their own; otherwise there is no validation split.
        epochs, batch_size, lr: if given, they replace the values of all stages; a stage with 0 epochs stays off. For a
            ``DataLoader``, batch_size is refused.
        seed: as for ``zoo train``: seed of the initial weights (of a model given by name), the order of the examples,
            augmentation, dropout, noise, Gibbs sampling, and the labels that ``dataset.labeled_examples`` keeps.
        overrides: any other keys, as on the command line: ``["model.net.dropout=0.5", "accelerator=cpu"]``.
        folder: the run folder, as ``zoo train`` writes it; None: nothing is kept but the result.
        resume: continue the stopped run in ``folder``, or begin one if there is none. Net, data, seed and keys of the
            stages must be those with which it began.
        progress: whether to print what ``zoo train`` prints. None: print nothing, but in a notebook draw the curves of
            each fit.

    Returns:
        A `zoo.training.from_python.Result`: the trained net in evaluation mode, metrics on the validation and test
        split, one row of metrics for each epoch, the folder, the preprocessing of raw inputs, and the names of the
        classes.

    Raises:
        ValueError: an unknown name or key, a wrong value, or a net, data and stage that do not fit together. Also if
            the loss became NaN or Inf.
        FileNotFoundError: the files of the dataset or of the pretrained weights do not exist.
        FileExistsError: the folder already contains a run, or a file that the run would replace.
        KeyboardInterrupt: Ctrl-C. If a run with a folder had begun, it can be resumed, and the message says how.
    """
    from zoo.training import from_python

    return from_python.train(
        net,
        data,
        stage=stage,
        validation_data=validation_data,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        overrides=overrides,
        folder=folder,
        resume=resume,
        progress=progress,
    )
