"""``zoo train``: walk a model's stages and, in each, the fits that its schedule yields, every one with a fresh Trainer.

The run folder gets ``config.yaml`` (resolved), ``metrics.csv`` (every logged step), ``checkpoints/last.ckpt`` (to go on
from), and in the end ``model.safetensors``, ``metrics.json``, ``curves.png`` and, for classes, ``confusion.png``. A
stage without labels leaves the pictures of `zoo.plots.stage_plots`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch import nn

from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import files
from zoo.checkpoints import pretrained as weights
from zoo.checkpoints import safe_pickle as pickled
from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.checkpoints.pretrained import Pretrained
from zoo.config import build as config
from zoo.config import compose, hardware, schemas
from zoo.data.augment import Augment
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits, seed_from, shape_text
from zoo.plots import curves, stage_plots
from zoo.protocols import ChangesConfig
from zoo.tasks import Classification, Task
from zoo.training import checks as prepare
from zoo.training import stages
from zoo.training.csv_logger import History
from zoo.training.signals import Request, noting
from zoo.training.stages import Stage
from zoo.training.trainer import fit, measure


@dataclass(frozen=True)
class Run:
    """All that a run is made of, once it is known to fit together."""

    cfg: DictConfig
    command: str
    folder: Path
    net: nn.Module
    splits: Splits
    preprocess: Preprocess
    augment: Augment
    place: dict[str, Any]
    stages: list[Stage]
    history: History
    loggers: list[Logger]


def train(cfg: DictConfig) -> dict[str, float]:
    """One run. Returns its metrics.

    Raises:
        ValueError, FileNotFoundError: a config, dataset or pair of both that cannot work; nothing is written then.
    """
    folder, command, resume = compose.run_folder(), compose.command("train"), None
    again = cfg.resume is not None
    if again:
        folder = Path(cfg.resume)
        cfg, command = _resumed_config(folder)
        if (folder / "metrics.json").is_file():
            _announce([f"{folder}: this run is finished; nothing is left to go on with"])
            return json.loads((folder / "metrics.json").read_text())
        resume = _last_checkpoint(folder)
        files.remove_unfinished(folder)
    stages.settle(cfg)
    place = hardware.place(cfg.accelerator)
    splits = prepare.dataset(cfg.dataset)
    augment = config.build(cfg.dataset.augment, where="dataset.augment")
    if augment.active and len(splits.shape) != 3:
        raise ValueError(f"dataset.augment is for pictures; dataset {cfg.dataset.name} is {shape_text(splits.shape)}")
    if augment.mixes and not splits.classes:
        raise ValueError(f"mixup and cutmix mix classes; dataset {cfg.dataset.name} has none")
    seed_everything(cfg.seed, verbose=False)
    net = prepare.net(cfg.model, splits, dataset=cfg.dataset.name)
    notes = list(splits.notes)
    if resume is None:
        known = weights.load(net, cfg.weights, head=cfg.weights_head) if cfg.weights is not None else None
        preprocess = _preparation(cfg, known, splits)
        notes += [note] if known and (note := known.note(net)) else []
    else:
        preprocess = Preprocess.from_dict(json.loads((folder / "preprocess.json").read_text()))
    splits = splits.with_preprocess(preprocess)
    planned = stages.plan(cfg, splits, net)
    plans = stages.rehearse(cfg, planned, net, splits, preprocess)
    history = History(folder / "metrics.csv")
    loggers = [history, *_extra_logger(cfg.logger)]
    run = Run(cfg, command, folder, net, splits, preprocess, augment, place, planned, history, loggers)

    if not again:
        _begin(run)
    _announce([*(f"note: {note}" for note in notes), *plans])
    with noting() as request:
        _fit_stages(run, resume, request)
    task = config.build(planned[-1].config.task, net)  # of the whole net, whatever part was fitted last
    if cfg.accelerator.precision.endswith("mixed"):  # the weights are whole: measured as zoo evaluate does
        place = {**place, "precision": "32-true"}
    metrics = measure(task, DataModule(splits, preprocess=preprocess, workers=cfg.dataset.workers), place=place)
    for stage in planned:
        if stage.config.stop_below is not None:
            metrics |= {f"{fit}/steps": steps for fit, steps in history.steps(stage.name).items()}
    _write(run, _describe(run, metrics), task)
    return metrics


def _fit_stages(run: Run, resume: dict[str, Any] | None, request: Request) -> None:
    """Every fit of every stage, one after the other; from ``resume`` on, the contents of a ``last.ckpt``."""
    last = run.folder / "checkpoints" / "last.ckpt"
    workers = run.cfg.dataset.workers
    for stage in run.stages:
        fitted = False
        for name, task in stage.fits(run.net):
            if resume is not None and name != resume["fit"]:
                continue  # finished before: its result is in the checkpoint of the later fit
            if resume is not None:  # now, since the codes of lower layers are computed before the Trainer loads it
                state = {key[4:]: value for key, value in resume["state_dict"].items() if key.startswith("net.")}
                run.net.load_state_dict(state)
            seed = seed_from(run.cfg.seed, name)
            seed_everything(seed % 2**32, verbose=False)
            run.history.start(name, step=resume["global_step"] if resume else 0)
            codes = None
            if not run.augment.active:
                codes = stage.codes(task, run.preprocess, hardware.device(run.place), workers=workers)
            examples, prepared = codes or (stage.splits, run.preprocess)
            data = DataModule(
                examples,
                preprocess=prepared,
                augment=run.augment,
                batch_size=stage.config.batch_size,
                seed=seed,
                workers=workers,
                drop_single=stage.drop_single,
            )
            fit(
                task,
                data,
                stage.config,
                name=name,
                folder=last.parent,
                loggers=run.loggers,
                place=run.place,
                resume=last if resume else None,
                progress=run.cfg.progress,
                request=request,
            )
            resume, fitted = None, True
        if fitted and not stage.needs_labels:
            _draw(run, stage.name)
    if resume is not None:
        raise ValueError(
            f"{run.folder}: its last.ckpt is of a fit {resume['fit']!r} that its config.yaml does not have"
        )


@rank_zero_only
def _draw(run: Run, prefix: str) -> None:
    stage_plots.draw(run.net, run.splits, run.preprocess, run.folder, prefix=prefix, latent_map=run.cfg.codes)


def _preparation(cfg: DictConfig, known: Pretrained | None, splits: Splits) -> Preprocess:
    """From raw values to the net's inputs: as its pretrained weights had it, where that is known, or by the data."""
    if known is None or known.preprocess is None:
        return Preprocess.from_data(prepare.sample(splits), standardize=cfg.model.inputs == "standardized")
    real = isinstance(splits.train, InMemory) and splits.train.x.is_floating_point()
    return weights.for_data(known.preprocess, splits.shape, scale=1.0 if real else 255.0)


@rank_zero_only
def _begin(run: Run) -> None:
    """The first files of a run folder."""
    path = run.folder / "config.yaml"
    if path.exists():
        raise FileExistsError(
            f"{run.folder} holds a run already: go on with resume={run.folder}, or name another hydra.run.dir="
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {run.command}\n{OmegaConf.to_yaml(run.cfg, resolve=True)}")
    (run.folder / "preprocess.json").write_text(json.dumps(run.preprocess.to_dict()) + "\n")


@rank_zero_only
def _announce(lines: list[str]) -> None:
    """What a user should know beforehand: oddities of the data, and which parts of the net learn when."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in lines:
        console.print(line)


def _extra_logger(node: DictConfig | None) -> list[Logger]:
    if node is None:
        return []
    try:
        return [config.build(node, where="logger")]
    except ModuleNotFoundError as error:
        raise ValueError(
            f"logger: {error.name or error} is not installed; pip install it, or leave logger= out"
        ) from error


def _last_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What the run was left with; None where it was stopped before anything was saved."""
    path = folder / "checkpoints" / "last.ckpt"
    return pickled.load(path) if path.is_file() else None


def _resumed_config(folder: Path) -> tuple[DictConfig, str]:
    """The run's own config and command; nothing of the new command line but ``resume`` counts."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"resume={folder}: no run is there (no config.yaml); name the folder of an earlier one")
    cfg = OmegaConf.merge(OmegaConf.structured(schemas.Train), OmegaConf.load(path))
    assert isinstance(cfg, DictConfig)
    return cfg, path.read_text().partition("\n")[0].removeprefix("# ")


def _describe(run: Run, metrics: dict[str, float]) -> CheckpointInfo:
    cfg, last = run.cfg, run.stages[-1]
    # The dataset's root may be a variable of the environment, to be looked up again where the file is used.
    dataset = OmegaConf.to_container(cfg.dataset, resolve=False)
    net: dict[str, Any] = OmegaConf.to_container(cfg.model.net, resolve=True)  # type: ignore[assignment]
    if isinstance(run.net, ChangesConfig):
        net |= run.net.config_changes()
    return CheckpointInfo(
        name=cfg.model.name,
        net=net,
        task=OmegaConf.to_container(last.config.task, resolve=True),  # type: ignore[arg-type]
        preprocess=run.preprocess.to_dict(),
        classes=list(run.splits.classes) if last.needs_labels or getattr(run.net, "label_units", False) else [],
        metrics=metrics,
        num_params=sum(parameter.numel() for parameter in run.net.parameters()),
        command=run.command,
        dataset=cfg.dataset.name,
        dataset_config=dataset,  # type: ignore[arg-type]
        license=cfg.dataset.license,
        **checkpoints.provenance(),
    )


@rank_zero_only
def _write(run: Run, about: CheckpointInfo, task: Task) -> None:
    """What the run folder keeps, and the table in the terminal."""
    folder, history = run.folder, run.history
    checkpoints.save(run.net, folder / "model.safetensors", about)
    monitors = dict.fromkeys(config.check(stage.config.task)[0].monitor for stage in run.stages)  # type: ignore[attr-defined]
    panels = {"loss": ("train/loss", "val/loss")} | {
        monitor: (monitor,) for monitor in monitors if monitor != "val/loss"
    }
    lines = {
        title: {
            name if fit == "fit" else f"{fit} {name}": series
            for name in names
            for fit, series in history.series(name).items()
        }
        for title, names in panels.items()
    }
    logged = {title: found for title, found in lines.items() if found}  # without a validation part, less than asked for
    curves.curves(logged or lines, folder / "curves.png")
    if isinstance(task, Classification) and task.confusion:
        curves.confusion(task.confusion, about.classes, folder / "confusion.png")
    with files.replacing(folder / "metrics.json") as temporary:  # last: a run that has it is finished
        temporary.write_text(json.dumps(about.metrics, indent=2) + "\n")
    table = Table(title=f"{about.name} on {about.dataset}: {about.num_params:,} parameters", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in sorted(about.metrics.items()):
        table.add_row(name, str(value) if isinstance(value, int) else f"{value:.4f}")
    console = Console()
    console.print(table)
    here = Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    console.print(f"run folder: {shown}", soft_wrap=True, highlight=False)
