"""Every number of a config is checked before any data are read."""

import functools

import pytest
from omegaconf import OmegaConf

from zoo.config.build import build
from zoo.config.catalogue import CONF
from zoo.config.compose import compose
from zoo.config.ranges import check_numbers
from zoo.training.checks import run_checks

HUGE = 10**40


@functools.cache
def composed(*overrides: str):
    return compose("train", ["dataset=digits", *overrides])


def numbers(node, key: str = ""):
    """(full key, value) of every number, and of the first number of a list."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from numbers(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list) and node:
        yield from numbers(node[0], f"{key}[0]")
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield key, node


def keys_of(*overrides: str):
    content = OmegaConf.to_container(composed(*overrides), resolve=True)
    sections = {name: content[name] for name in ("model", "dataset", "accelerator", "seed")}
    sections["model"].pop("about")
    return [(overrides, key, type(value)) for key, value in numbers(sections)]


OPTIMIZERS = [f"optimizer@model.stages.fit.optimizer={path.stem}" for path in (CONF / "optimizer").glob("*.yaml")]
SCHEDULES = [f"lr_schedule@model.stages.fit.lr_schedule={path.stem}" for path in (CONF / "lr_schedule").glob("*.yaml")]
STAGES = [f"stage@model.stages.fit={path.stem}" for path in (CONF / "stage").glob("*.yaml")]
CASES = {
    key: (overrides, kind)
    for choice in [*OPTIMIZERS, *SCHEDULES, *STAGES, "augment@dataset.augment=digits", "model=mlp"]
    for overrides, key, kind in keys_of(choice)
    # The limits of a network are those of its constructor.
    if "model.net" not in key
}


def check_with(cfg, key: str, value) -> None:
    """Set a key, as the command line would, and check the config."""
    OmegaConf.update(cfg, key, value)
    run_checks.check_values(cfg)
    build(cfg.dataset.source, where="dataset.source")


@pytest.mark.parametrize("key", CASES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -HUGE, HUGE, "text"], ids=str)
def test_no_number_of_a_config_may_be_absurd(key, value):
    overrides, kind = CASES[key]
    if isinstance(value, float) and kind is int:
        value = "nan"  # is no integer, as a user would type it
    with pytest.raises(Exception, match=key.split(".")[-1].split("[")[0]):
        check_with(composed(*overrides).copy(), key, value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("accelerator.devices=0", "accelerator.devices=0 must be >= 1"),
        ("accelerator.devices=-1", "accelerator.devices=-1 must be >= 1, or auto"),
        ("accelerator.devices=true", "accelerator.devices=True must be auto or the number"),
        ("accelerator.num_nodes=0", "accelerator.num_nodes=0 must be >= 1"),
        ("accelerator.precision=64-true", "accelerator.precision=64-true must be one of"),
        ("accelerator.precision=bf16-true", "accelerator.precision=bf16-true must be one of"),
        ("lr=1e300", "optimizer.lr=1e[+]300 must be <="),
        ("batch_size=1180591620717411303424", "batch_size=1180591620717411303424 must be <="),
        ("model.stages.fit.optimizer.weight_decay=inf", "weight_decay=inf must be finite and >= 0"),
        ("+model.stages.fit.optimizer.capturable=true", "optimizer.capturable=true is not supported"),
        ("dataset.workers=-1", "dataset.workers=-1 must be >= 0"),
        ("dataset.workers=100000", "dataset.workers=100000 must be <= 256"),
        ("dataset.shape=[1,60000,60000]", "an input would have 3,600,000,000 values"),
        (
            "model.stages.fit.lr_schedule._target_=torch.optim.Adam",
            "lr_schedule._target_=torch.optim.Adam is of another",
        ),
        ("model.stages.fit.task._target_=zoo.models.MLP", "task._target_=zoo.models.MLP is of another kind"),
    ],
)
def test_a_value_that_cannot_work_is_refused_before_any_data_are_read(override, message):
    with pytest.raises(ValueError, match=message):
        run_checks.check_values(compose("train", ["dataset=digits", override]))


def test_half_precision_needs_a_gpu():
    with pytest.raises(ValueError, match="16-mixed needs a GPU; use bf16-mixed or 32-true"):
        run_checks.check_values(compose("train", ["accelerator=cpu", "accelerator.precision=16-mixed"]))


@pytest.mark.parametrize("value", [10**400, -(10**400), [10**400], {"a": 10**400}])
def test_integers_beyond_all_floats_are_out_of_every_range(value):
    for kind, key in (("net", "hidden"), ("stage", "epochs"), ("task", "k")):
        with pytest.raises(ValueError, match=rf"^x\.{key}=.* must be [<>]"):
            check_numbers({key: value}, kind=kind, where="x")
