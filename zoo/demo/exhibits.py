"""The checkpoints that the page shows, opened when they are first chosen."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from zoo.checkpoints.description import CheckpointInfo
from zoo.config.catalogue import index, list_models, model_config
from zoo.data.preprocess import Preprocess
from zoo.demo.drawing import framing_of
from zoo.models import MLP
from zoo.protocols import Decoding, Generative, HasLabelUnits, Reconstructing

DATASETS = {
    "mnist": "Handwritten digits (MNIST)",
    "fashion_mnist": "Clothes (Fashion-MNIST)",
    "digits": "Handwritten digits (scikit-learn)",
}
METRICS = {  # the page states the first of these that a checkpoint has: metric -> its name and format
    "test/accuracy": ("test accuracy", "{:.2f} %"),
    "test/log_likelihood_ais": ("log-likelihood of a test image (AIS)", "{:.1f} nats"),
    "test/reconstruction_error": ("squared reconstruction error per test image", "{:.2f}"),
}


@dataclass(frozen=True)
class Exhibit:
    """A net that the page can show.

    Attributes:
        net: in eval mode.
        about: the description of its checkpoint.
        preprocess: from bytes, N x C x H x W, to the net's input.
        probabilities: outputs of the net -> probabilities of its classes, N x K.
        models_inputs: whether it was trained without targets. Supervised fine-tuning changes the layers, so that
            reconstructions and samples no longer mean anything.
        device: where the net is.
    """

    net: nn.Module
    about: CheckpointInfo
    preprocess: Preprocess
    probabilities: Callable[[Tensor], Tensor]
    models_inputs: bool
    device: torch.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width of its images."""
        return self.preprocess.shape

    @property
    def framing(self) -> str:
        """The name of the framing that its training images had, or none."""
        return framing_of(self.about.dataset, self.shape)

    @property
    def reconstructing(self) -> Reconstructing | None:
        """The net, if it reconstructs."""
        return self.net if self.models_inputs and isinstance(self.net, Reconstructing) else None

    @property
    def decoding(self) -> Decoding | None:
        """The net, if it is an autoencoder."""
        return self.net if self.models_inputs and isinstance(self.net, Decoding) else None

    @property
    def generative(self) -> Generative | None:
        """The net, if it is a distribution over images."""
        return self.net if self.models_inputs and isinstance(self.net, Generative) else None

    @property
    def has_labels(self) -> bool:
        """Whether it samples images of a given class."""
        return self.generative is not None and isinstance(self.net, HasLabelUnits) and bool(self.net.label_units)

    @property
    def diagram(self) -> MLP | None:
        """The net, if it can be drawn as columns of units."""
        return self.net if isinstance(self.net, MLP) else None

    def pixels(self, outputs: Tensor) -> Tensor:
        """Reconstructions, samples or inputs of the net, N x C x H x W (or flattened), as bytes of N x C x H x W.

        Those of nets of whitened images stay whitened, see `Preprocess.images`.
        """
        images = self.preprocess.images(outputs.float().cpu())
        raw = images * (self.preprocess.scale if self.preprocess.whitening == "none" else 255)
        return raw.nan_to_num().round().clamp(0, 255).to(torch.uint8)


class Collection:
    """The checkpoints by key, each opened once; one request computes at a time.

    Args:
        about: key -> description, in the order of the page; the first one is shown first.
        open_exhibit: opens the checkpoint of a key.
    """

    def __init__(self, about: Mapping[str, CheckpointInfo], open_exhibit: Callable[[str], Exhibit]):
        self._about = dict(about)
        self._open_exhibit = open_exhibit
        self._opened: dict[str, Exhibit] = {}
        self._lock = Lock()

    def listing(self) -> list[dict[str, Any]]:
        """What the selector shows, for each checkpoint."""
        return [{"key": key, **_summary(key, about)} for key, about in self._about.items()]

    @contextmanager
    def use(self, key: str) -> Iterator[Exhibit]:
        """The exhibit of a key, for one request at a time: Grad-CAM hooks into the net.

        Raises:
            ValueError, OSError: no such key, or a checkpoint that cannot be opened.
        """
        if key not in self._about:
            raise ValueError(f"no checkpoint {key!r} on this page; reload it")
        with self._lock:
            if key not in self._opened:
                self._opened[key] = self._open_exhibit(key)
            yield self._opened[key]


def _summary(key: str, about: CheckpointInfo) -> dict[str, Any]:
    """The texts about a checkpoint; the index has metrics that were measured after it was saved."""
    metrics = about.metrics | index().get(key, {}).get("metric", {})
    title = model_config(about.name).get("about", {}).get("title") if about.name in list_models() else None
    facts = [f"{about.num_params:,} parameters"] if about.num_params else []
    metric = next((metric for metric in METRICS if metric in metrics), None)
    if metric is not None:
        name, form = METRICS[metric]
        factor = 100 if "%" in form else 1
        facts.append(f"{name} {form.format(factor * metrics[metric])}")
    return {
        "label": key if key in index() else "/".join(Path(key).parts[-2:]),
        "group": DATASETS.get(about.dataset, about.dataset or "Other"),
        "title": title or about.name,
        "facts": facts,
    }
