"""The data of one fit: the examples of its stage, or their features, computed once by the layers below."""

from zoo.config import hardware
from zoo.data.datamodule import DataModule
from zoo.tasks.task import Task
from zoo.training.fit.feature_cache import PickView, cache_features
from zoo.training.plan import Plan, StagePlan


def fit_data(plan: Plan, name: str, task: Task, stage: StagePlan, *, seed: int) -> DataModule:
    """The examples of a fit. Features of fixed lower layers replace the inputs if they can be cached.

    Args:
        plan: the plan of the run.
        name: name of the fit, for the progress bar.
        task: the task that the fit trains; it is told whether the batches hold features.
        stage: the stage of the fit.
        seed: seeds the order of the examples and the augmentation.
    """
    splits = stage.splits
    preprocess = plan.preprocess
    augment = plan.augment
    # With a loader of the user or augmentation other than mirroring, inputs differ in every epoch, so their features
    # cannot be cached. With a limit on the batches, most of the encoded examples would not be used.
    layer_input = task.layer_input
    fixed = (augment.only_flips or not augment.active) and splits.train.loader() is None
    cacheable = stage.encode_once and fixed and plan.settings.uses_all_batches
    if layer_input is not None and layer_input.depth and cacheable:
        cached = cache_features(
            plan.net,
            splits,
            preprocess,
            depth=layer_input.depth,
            device=hardware.device(plan.trainer_kwargs),
            workers=plan.workers,
            mirrored=augment.only_flips,
            progress=name if plan.progress else None,
        )
        layer_input.ready = cached is not None
        if cached is not None:
            splits, preprocess = cached
            augment = PickView() if augment.only_flips else augment
    return DataModule(
        splits,
        preprocess=preprocess,
        augment=augment,
        batch_size=stage.batch_size,
        seed=seed,
        workers=plan.workers,
        drop_single=plan.drop_single,
    )
