"""What benchmarks/photos.py compares: the zoo's recipes, the script of PyTorch's tutorial, and timm's recipe.

Every recipe takes the same folder with ``train/`` and ``test/``, the same net, weights and size of the images, trains
on ``train/`` alone and returns its accuracy on ``test/``.
"""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import mobilenet_v2

from zoo.cli.main import main

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        root: folder with ``train/`` and ``test/``.
        runs: folder for the zoo's run folders.
        size: height and width of the images.
        seed: seed of everything random.
        weights: file with torchvision's tensors of MobileNetV2, without a head.
    """

    root: Path
    runs: Path
    size: int
    seed: int
    weights: Path


@dataclass(frozen=True)
class Scores:
    """Accuracy on the test images and, of the zoo's runs with a validation split, on that."""

    test: float
    validation: float | None = None


# The zoo

FIT = "model.stages.fit"
GRADUAL = (
    *("stage@model.stages.fit=gradual", "augment@dataset.augment=photos", f"{FIT}.fit_head=false", f"{FIT}.epochs=20"),
    f"{FIT}.interpolation=null",
    *(f"{FIT}.ema=0.99", f"{FIT}.patience=8", f"{FIT}.task.unfreeze_at=[2,3,4]", f"{FIT}.task.label_smoothing=0.1"),
    *(f"{FIT}.optimizer.lr=0.0003", f"{FIT}.task.freeze_statistics=false"),
    *(f"{FIT}.task.head_lr_factor=10", f"{FIT}.task.layer_decay=0.7"),
)


def zoo_run(case: Case, *overrides: str, pretrained: bool = True) -> Scores:
    """Train with ``zoo train``."""
    folder = case.runs / f"zoo-{case.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    arguments = [
        *("model=torchvision", "model.net.architecture=mobilenet_v2"),
        *(f"dataset.root={case.root}", f"dataset.size={case.size}", "dataset.workers=0"),
        *(f"weights={case.weights}" if pretrained else "weights=null", f"seed={case.seed}"),
        *("model.stages.fit.checkpoint_every=0", "progress=false", f"hydra.run.dir={folder}", *overrides),
    ]
    main("train", arguments)
    metrics = json.loads((folder / "metrics.json").read_text())
    shutil.rmtree(folder)
    return Scores(metrics["test/accuracy"], metrics.get("val/accuracy"))


def full(case: Case, *overrides: str, pretrained: bool = True) -> Scores:
    """``experiment=finetune``; `overrides` replace its keys."""
    return zoo_run(case, "experiment=finetune", *overrides, pretrained=pretrained)


def from_scratch(case: Case, lr: float) -> Scores:
    """All layers from random weights, otherwise as `full`."""
    return full(
        case,
        *(f"lr={lr}", "model.stages.fit.min_steps=300", "model.stages.fit.fit_head=false"),
        *("model.stages.fit.task.freeze_statistics=false", "model.stages.fit.task.layer_decay=1"),
        "model.stages.fit.interpolation=null",
        pretrained=False,
    )


# Plain PyTorch


def _net(case: Case, classes: int) -> nn.Module:
    """torchvision's MobileNetV2 with the pretrained weights and a fresh head."""
    net = mobilenet_v2()
    missing, unexpected = net.load_state_dict(load_file(case.weights), strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith("classifier.") for name in missing), missing
    net.classifier[1] = nn.Linear(net.last_channel, classes)
    return net


def _loaders(
    case: Case, train_transform: Callable[[Any], torch.Tensor], batch_size: int, *, drop_last: bool = False
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    torch.manual_seed(case.seed)
    random.seed(case.seed)
    evaluation = transforms.Compose(
        [
            transforms.Resize(case.size * 8 // 7),
            transforms.CenterCrop(case.size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    train = ImageFolder(str(case.root / "train"), train_transform, loader=_rgb)
    test = ImageFolder(str(case.root / "test"), evaluation, loader=_rgb)
    # A last batch of one image would stop batch normalization.
    drop = drop_last or len(train) % batch_size == 1
    return DataLoader(train, batch_size, shuffle=True, drop_last=drop), DataLoader(test, 64)


def _rgb(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


@torch.no_grad()
def _accuracy(net: nn.Module, loader: DataLoader[Any]) -> Scores:
    net.eval()
    right = sum(int((net(x).argmax(1) == y).sum()) for x, y in loader)
    return Scores(right / len(loader.dataset))


def tutorial(case: Case, *, frozen: bool) -> Scores:
    """PyTorch's "Transfer learning for computer vision": its transforms, SGD, step schedule, 25 epochs, batches of 4.

    Its script keeps the epoch that is best on the test images; here it is the last epoch.

    Args:
        case: the training.
        frozen: train the head only ("ConvNet as fixed feature extractor").
    """
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(case.size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    train, test = _loaders(case, transform, 4)
    net = _net(case, len(train.dataset.classes))
    if frozen:
        net.features.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.001, momentum=0.9)
    schedule = StepLR(optimizer, step_size=7, gamma=0.1)
    for _ in range(25):
        net.train()
        for x, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        schedule.step()
    return _accuracy(net, test)


def timm_recipe(case: Case, *, epochs: int = 20, lr: float = 5e-4) -> Scores:
    """timm's train.py for fine-tuning, by timm's own parts.

    ``--opt adamw --lr 5e-4 --weight-decay 0.05 --epochs 20 --warmup-epochs 3 --smoothing 0.1
    --aa rand-m9-mstd0.5-inc1 --reprob 0.25 -b 32``
    """
    from timm.data import create_transform
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler

    transform = create_transform(
        (3, case.size, case.size),
        is_training=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        re_prob=0.25,
        re_mode="pixel",
        interpolation="random",
        mean=MEAN,
        std=STD,
    )
    train, test = _loaders(case, transform, 32)
    net = _net(case, len(train.dataset.classes))
    optimizer = create_optimizer_v2(net, opt="adamw", lr=lr, weight_decay=0.05)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs, warmup_t=3, warmup_lr_init=1e-5, warmup_prefix=True)
    loss = LabelSmoothingCrossEntropy(0.1)
    for epoch in range(epochs):
        schedule.step(epoch)
        net.train()
        for x, y in train:
            optimizer.zero_grad()
            loss(net(x), y).backward()
            optimizer.step()
    return _accuracy(net, test)


RECIPES: dict[str, Callable[[Case], Scores]] = {
    "head": lambda case: zoo_run(case, "experiment=linear_probe"),
    "full": full,
    "gradual": lambda case: full(case, *GRADUAL),
    "random lr 0.001": partial(from_scratch, lr=0.001),
    "random lr 0.003": partial(from_scratch, lr=0.003),
    "tutorial, head": partial(tutorial, frozen=True),
    "tutorial": partial(tutorial, frozen=False),
    "timm": timm_recipe,
}
