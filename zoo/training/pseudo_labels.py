"""Self-training: give pseudo-labels to unlabeled training examples, and train a stage on them, too.

The teacher is the net as the earlier stages have trained it. Its features make a graph of nearest neighbors, over which
the known labels spread to all examples: D. Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003;
with the features of a net, A. Iscen et al., "Label Propagation for Deep Semi-supervised Learning", CVPR 2019. The most
certain examples get the class that reached them as their label for the whole stage; the others are left out. The stage
should train with noise (dropout, augmentation), without which the features of the teacher are computed. A further stage
is a further round, with the student as its teacher.

The pseudo-labels are stored in the run folder before training starts: a resumed run needs those of the teacher, whose
weights are lost by then.
"""

import warnings
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.checkpoints import files
from zoo.data.splits import UNLABELED
from zoo.protocols import Net, layers_of
from zoo.tasks.classification import Classification
from zoo.tasks.task import Task
from zoo.training.fit.feature_cache import training_features
from zoo.training.fit.trainer_settings import TrainerSettings
from zoo.training.plan import Plan, StagePlan

NEIGHBORS = 5  # nearest examples with which each one is linked
ALPHA = 0.99  # share of a class that an example takes from its neighbors in each step
MAX_STEPS = 200  # of label spreading
SUFFIX = ".pseudo_labels.safetensors"


def check(task: Task, *, where: str) -> None:
    """Raise ValueError unless a task can be trained on pseudo-labels; ``where`` is the key of the stage."""
    reason = ""
    if not isinstance(task, Classification):
        reason = f"{type(task).__name__} has no classes"
    elif not isinstance(task.net, Net) or not layers_of(task.net):
        reason = f"{type(task.net).__name__} has no layers with features"
    if reason:
        raise ValueError(f"{where}.pseudo_labels: {reason}; set it to null")


def check_stage(stage: DictConfig, *, where: str, labeled_examples: int | None, settings: TrainerSettings) -> None:
    """Raise ValueError unless the run has unlabeled examples for a stage with ``pseudo_labels``, and uses them."""
    if stage.pseudo_labels is None:
        return
    if labeled_examples is None:
        raise ValueError(
            f"{where}.pseudo_labels={stage.pseudo_labels:g}: all examples have labels; set "
            "dataset.labeled_examples to the number of those that keep them, or pseudo_labels to null"
        )
    if settings.overfit_batches:
        raise ValueError(f"{where}.pseudo_labels does not work with trainer.overfit_batches; set it to null")


def count(labels: Tensor, share: float) -> int:
    """Number of examples with a label or a pseudo-label, if a ``share`` of the unlabeled ones gets one."""
    unlabeled = int((labels == UNLABELED).sum())
    return len(labels) - unlabeled + int(share * unlabeled)


def given(stage: StagePlan, plan: Plan, path: Path, *, resumed: bool, progress: str | None) -> StagePlan:
    """The stage with the labeled examples and those that get a pseudo-label as its training split.

    Args:
        stage: a stage with ``pseudo_labels``, which `check` has passed.
        plan: the plan of the run, with the teacher as its net.
        path: the file in which the pseudo-labels are stored.
        resumed: whether to read them from there.
        progress: as in `cache_features`.

    Raises:
        ValueError: the features of the training examples do not fit in memory, or the stored file is damaged.
    """
    train = stage.splits.train
    chosen, classes = _read(path, train.labels(), stage) if resumed else _new(stage, plan, progress=progress)
    if not resumed:
        _store(path, {"examples": chosen, "classes": classes})
    return replace(stage, splits=replace(stage.splits, train=train.take(chosen.tolist()).relabeled(classes)))


@rank_zero_only
def _store(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write the file. All processes compute the same pseudo-labels; the first one stores them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path, errors=[SafetensorError]) as temporary:
        save_file(tensors, temporary)


def _new(stage: StagePlan, plan: Plan, *, progress: str | None) -> tuple[Tensor, Tensor]:
    """The examples to train on and their classes, from the features of the topmost layer."""
    assert stage.pseudo_labels is not None
    features, labels = training_features(plan.net, stage, plan, key="pseudo_labels", off="null", progress=progress)
    return choose(spread(features, labels, len(stage.splits.classes)), labels, stage.pseudo_labels)


def spread(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Spread the known labels over the graph of nearest neighbors.

    Args:
        features: N x H; only their directions count.
        labels: N class numbers, `UNLABELED` where they are not known.
        num_classes: K.

    Returns:
        How much each example belongs to each class: N x K, rows that sum to 1, or to 0 for an example that no label
        reaches.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neighbors import kneighbors_graph
    from sklearn.semi_supervised import LabelSpreading

    # Two examples are linked if one of them is among the nearest neighbors of the other on the unit sphere. The graph
    # of scikit-learn's own kernel "knn" is directed, and its pseudo-labels are less often right.
    directions = F.normalize(features.float(), dim=1).numpy()
    graph = kneighbors_graph(directions, min(NEIGHBORS, len(labels) - 1))  # N x N, zeros and ones, sparse
    graph = graph.maximum(graph.T)
    spreading = LabelSpreading(kernel=lambda *_: graph, alpha=ALPHA, max_iter=MAX_STEPS)
    with warnings.catch_warnings():
        # After MAX_STEPS steps, the order of the classes of an example no longer changes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        spreading.fit(directions, labels.numpy())

    # scikit-learn has columns for the classes that occur.
    belongs = torch.zeros(len(labels), num_classes, dtype=torch.float64)
    belongs[:, torch.from_numpy(spreading.classes_)] = torch.from_numpy(spreading.label_distributions_).double()
    return belongs.nan_to_num(0.0)


def choose(belongs: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The labeled examples and the most certain ``share`` of the others, in the order of the data.

    An example is certain if its distribution over the classes has a low entropy. Of equally certain examples, the first
    ones are taken.

    Args:
        belongs: N x K, as `spread` returns it.
        labels: N class numbers, `UNLABELED` where they are not known.
        share: fraction of the unlabeled examples, in (0, 1].

    Returns:
        The numbers of the examples, and their classes: the known ones, or those to which they belong most.
    """
    # An example that no label reaches is the least certain one.
    entropy = -torch.special.xlogy(belongs, belongs).sum(dim=1)  # N
    entropy[belongs.sum(dim=1) == 0] = torch.inf
    unlabeled = (labels == UNLABELED).nonzero().squeeze(1)
    certain = unlabeled[entropy[unlabeled].argsort(stable=True)[: int(share * len(unlabeled))]]

    # Known labels stay as they are.
    classes = torch.where(labels == UNLABELED, belongs.argmax(dim=1), labels)  # N
    chosen = torch.cat([(labels != UNLABELED).nonzero().squeeze(1), certain]).sort().values
    return chosen, classes[chosen]


def _read(path: Path, labels: Tensor, stage: StagePlan) -> tuple[Tensor, Tensor]:
    """The stored examples and classes. Raises ValueError if they are missing, damaged or do not fit the data."""
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: missing or damaged, so the run cannot be resumed; start a new one") from error
    chosen, classes = (stored.get(key, torch.empty(0)) for key in ("examples", "classes"))
    assert stage.pseudo_labels is not None
    expected = (count(labels, stage.pseudo_labels),)
    fits = all(tensor.shape == expected and tensor.dtype == torch.int64 for tensor in (chosen, classes))
    # The numbers must be those of examples, without repetition, and the classes must exist and agree with known labels.
    if fits:
        fits = bool((chosen.diff() > 0).all() and chosen[0] >= 0 and chosen[-1] < len(labels))
        fits = fits and bool((classes >= 0).all() and (classes < len(stage.splits.classes)).all())
    if not fits or not torch.where(labels[chosen] == UNLABELED, True, labels[chosen] == classes).all():
        raise ValueError(f"{path}: does not fit the data of the run, so it cannot be resumed; start a new one")
    return chosen, classes
