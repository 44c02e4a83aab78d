"""``zoo train``: a run trains the stages of a model one after another; each stage is one or several fits.

A run starts from a checked `Plan` or is resumed from its folder. Each fit has a new Trainer. The folder contains
``metrics.csv`` (every logged step), ``checkpoints/last.ckpt`` (to resume from) and the files of `zoo.training.outputs`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from zoo.checkpoints import files
from zoo.checkpoints.safe_pickle import load as load_safely
from zoo.config import compose, hardware, schemas
from zoo.config.build import build
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import seed_from
from zoo.tasks.task import Task
from zoo.training import checks, outputs, stages
from zoo.training.csv_logger import CSVLogger
from zoo.training.feature_cache import cache_features
from zoo.training.plan import Plan, StagePlan
from zoo.training.signals import stop_on_signals
from zoo.training.trainer import Fit, Session, measure


def train(cfg: DictConfig) -> dict[str, float]:
    """Train as a config says, and return the metrics on the validation and test splits: name -> value.

    Raises:
        ValueError, FileNotFoundError: an invalid config, dataset or combination; nothing was written.
        Stopped: a signal asked the run to stop; it can be resumed.
    """
    # Do not train a finished run again.
    resumed = None if cfg.resume is None else Path(cfg.resume)
    if resumed is not None and outputs.is_finished(resumed):
        outputs.announce([f"{resumed}: this run is finished; there is nothing to resume"])
        return outputs.finished_metrics(resumed)
    # Train the remaining fits, until the end or until a signal asks to stop.
    run = Run.begin(checks.plan(cfg)) if resumed is None else Run.resume(resumed)
    outputs.announce(run.plan.notes)
    with stop_on_signals() as stop:
        for fit in run.remaining_fits():
            fit.train(stop)
    return run.finish()


@dataclass(frozen=True)
class Run:
    """A checked plan and the folder of its results.

    Attributes:
        plan: the checked plan.
        folder: the run folder.
        command: the command line that started the run.
        logger: the logger that writes ``metrics.csv``.
        session: the settings that all fits share.
        checkpoint: the content of ``last.ckpt`` in a resumed run; None in a new run, or if nothing was saved yet.
    """

    plan: Plan
    folder: Path
    command: str
    logger: CSVLogger
    session: Session
    checkpoint: dict[str, Any] | None = None

    @classmethod
    def begin(cls, plan: Plan, folder: Path | None = None) -> "Run":
        """A new run, in Hydra's folder unless another is given.

        Raises:
            FileExistsError: the folder already contains a run.
            ValueError: the package of the logger is not installed.
        """
        folder = folder or compose.run_folder()
        run = cls._in_folder(plan, folder, compose.command_line("train"))
        outputs.begin(plan, folder, run.command)
        return run

    @classmethod
    def resume(cls, folder: Path) -> "Run":
        """Resume a stopped run from its own config: all other keys of the new command line are ignored.

        Raises:
            FileNotFoundError: the folder is not a run folder, or its data no longer exist.
            ValueError: its config, its checkpoint or its data were changed and are now invalid.
        """
        path = folder / "config.yaml"
        if not path.is_file():
            raise FileNotFoundError(f"resume={folder}: not a run folder (no config.yaml)")
        # The first line of config.yaml is the command line that started the run.
        cfg = OmegaConf.merge(OmegaConf.structured(schemas.Train), OmegaConf.load(path))
        assert isinstance(cfg, DictConfig)
        command = path.read_text().partition("\n")[0].removeprefix("# ")

        # Without last.ckpt, the run was stopped before anything was saved, so it starts from the beginning.
        last = folder / "checkpoints" / "last.ckpt"
        checkpoint = load_safely(last) if last.is_file() else None

        # Use the preprocessing of the original run. Check the config again, since files may have changed.
        files.remove_unfinished(folder)
        preprocess = Preprocess.from_dict(json.loads((folder / "preprocess.json").read_text()))
        plan = checks.plan(cfg, preprocess=preprocess)
        return cls._in_folder(plan, folder, command, checkpoint)

    @classmethod
    def _in_folder(cls, plan: Plan, folder: Path, command: str, checkpoint: dict[str, Any] | None = None) -> "Run":
        logger = CSVLogger(folder / "metrics.csv")
        loggers = [logger, *_extra_loggers(plan)]
        session = Session(folder / "checkpoints", loggers, plan.trainer_kwargs, plan.progress)
        return cls(plan, folder, command, logger, session, checkpoint)

    def remaining_fits(self) -> Iterator[Fit]:
        """The fits that are left to train. Each one is built after the previous one was trained.

        Raises:
            ValueError: ``last.ckpt`` belongs to a fit that the plan does not contain.
        """
        checkpoint = self.checkpoint
        for stage in self.plan.stages:
            was_trained = False
            for name, task in stages.fits(stage, self.plan.net):
                # Skip the fits before that of the checkpoint. They are finished; the checkpoint has their weights.
                if checkpoint is not None and name != checkpoint["fit"]:
                    continue
                yield self._fit(name, task, stage, checkpoint)
                checkpoint = None
                was_trained = True
            # Plot what a stage without labels has trained.
            if was_trained and not stage.needs_labels:
                outputs.draw_stage(self.plan, stage, self.folder)
        if checkpoint is not None:
            raise ValueError(
                f"{self.folder}: last.ckpt belongs to fit {checkpoint['fit']!r}, which config.yaml does not define"
            )

    def _fit(self, name: str, task: Task, stage: StagePlan, checkpoint: dict[str, Any] | None) -> Fit:
        """One fit, resumed from ``checkpoint`` if that is not None."""
        # The Trainer loads the checkpoint later, but cached features of lower layers need the weights now.
        if checkpoint is not None:
            state = checkpoint["state_dict"]
            net_state = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
            self.plan.net.load_state_dict(net_state)

        # Derive the seed of a fit from the run's seed and the fit's name, so that it does not depend on earlier fits.
        seed = seed_from(self.plan.seed, name)
        seed_everything(seed % 2**32, verbose=False)
        self.logger.start(name, step=checkpoint["global_step"] if checkpoint else 0)
        return Fit(
            name=name,
            task=task,
            data=self._data(task, stage, seed),
            stage=stage,
            session=self.session,
            resume=self.session.folder / "last.ckpt" if checkpoint else None,
        )

    def _data(self, task: Task, stage: StagePlan, seed: int) -> DataModule:
        """The examples of the stage. Features of fixed lower layers replace the inputs if they can be cached."""
        splits = stage.splits
        preprocess = self.plan.preprocess
        # With augmentation, inputs differ in every epoch, so their features cannot be cached.
        layer_input = task.layer_input
        if layer_input is not None and layer_input.depth and stage.encode_once and not self.plan.augment.active:
            cached = cache_features(
                self.plan.net,
                splits,
                preprocess,
                depth=layer_input.depth,
                device=hardware.device(self.plan.trainer_kwargs),
                workers=self.plan.workers,
            )
            layer_input.ready = cached is not None
            splits, preprocess = cached or (splits, preprocess)
        return DataModule(
            splits,
            preprocess=preprocess,
            augment=self.plan.augment,
            batch_size=stage.batch_size,
            seed=seed,
            workers=self.plan.workers,
            drop_single=self.plan.drop_single,
        )

    def finish(self) -> dict[str, float]:
        """Evaluate the trained net, write the results, and return the metrics."""
        # Build the task of the last stage for the whole net, also if that stage trained layer by layer.
        plan = self.plan
        task = build(plan.stages[-1].task, plan.net)
        data = DataModule(plan.splits, preprocess=plan.preprocess, workers=plan.workers)
        # Weights are stored in full precision, so evaluate them in full precision, as `zoo evaluate` does.
        trainer_kwargs = dict(plan.trainer_kwargs)
        if trainer_kwargs["precision"].endswith("mixed"):
            trainer_kwargs["precision"] = "32-true"
        metrics = measure(task, data, trainer_kwargs=trainer_kwargs)

        # With stop_below, the number of training steps is a metric, too.
        for stage in plan.stages:
            if stage.stop_below is not None:
                metrics |= {f"{fit}/steps": steps for fit, steps in self.logger.steps(stage.name).items()}

        # Write everything, the metrics last.
        about = outputs.description(plan, self.command, metrics)
        outputs.finish(plan, self.folder, about, task, self.logger)
        return metrics


def _extra_loggers(plan: Plan) -> list[Logger]:
    """The additional logger of the config, if there is one."""
    if plan.logger is None:
        return []
    try:
        return [build(plan.logger, where="logger")]
    except ModuleNotFoundError as error:
        raise ValueError(
            f"logger: {error.name or error} is not installed; pip install it, or leave logger= out"
        ) from error
