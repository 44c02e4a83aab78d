"""What `zoo.sklearn.Classifier` and `zoo.sklearn.Encoder` share: parameters, input checks and training."""

import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import prod
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from zoo import api
from zoo.config import catalogue, hardware
from zoo.config.compose import RUN_LOCK
from zoo.data.splits import InMemory, Splits, hold_out
from zoo.protocols import shape_text
from zoo.sklearn.inputs import SCALINGS, Scaler, flattened, input_shape
from zoo.sklearn.stages import Stages, override, stages

Model: TypeAlias = str | nn.Module | Callable[..., nn.Module]

BATCH = 250  # examples that a fitted net computes at a time
MAX_VALUES = 2**23  # values of such a batch: large images get smaller batches
DTYPES = [np.float64, np.float32]
ACCELERATORS = ("auto", "cpu", "gpu", "mps")
NESTED = "net_params__"  # before the name of an argument of the net


class NetEstimator(BaseEstimator):
    """Abstract: an estimator that trains a net by `zoo.train`. A subclass declares the parameters."""

    model: Model
    hidden: int | Sequence[int] | None
    net_params: Mapping[str, Any] | None
    in_shape: Sequence[int] | None
    scaling: str
    stage: str | Sequence[str] | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    overrides: Sequence[str]
    accelerator: str
    random_state: Any

    net_: nn.Module
    scaler_: Scaler
    in_shape_: tuple[int, ...]
    n_features_in_: int
    history_: Sequence[dict[str, float]]

    # Parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters; with ``deep`` also those of ``net_params`` one by one, such as ``net_params__dropout``."""
        params: dict[str, Any] = super().get_params(deep=deep)
        if deep and isinstance(self.net_params, Mapping):
            params |= {NESTED + key: value for key, value in self.net_params.items()}
        return params

    def set_params(self, **params: Any) -> "NetEstimator":
        """Set parameters. ``net_params__dropout=0.2`` sets one of ``net_params`` and keeps the others."""
        super().set_params(**{key: value for key, value in params.items() if not key.startswith(NESTED)})
        nested = {key.removeprefix(NESTED): value for key, value in params.items() if key.startswith(NESTED)}
        if nested:
            self.net_params = {**(self.net_params or {}), **nested}
        return self

    # Inputs

    def _training_rows(self, X: Any, *y: Any) -> tuple[Any, tuple[int, ...]]:
        """The checked X as N x F, with y if one is passed, and the shape of one input."""
        rows, images = flattened(X)
        checked = validate_data(self, rows, *y, dtype=DTYPES) if y else validate_data(self, rows, dtype=DTYPES)
        return checked, input_shape(self.in_shape, images, self.n_features_in_)

    def _inputs(self, X: Any) -> Tensor:
        """Inputs of the fitted net, N x in_shape, from rows or images like those of the training data."""
        check_is_fitted(self)
        rows, images = flattened(X)
        if images and images != self.in_shape_:
            raise ValueError(
                f"X has images of shape {shape_text(images)}, but {type(self).__name__} was fitted with inputs of "
                f"shape {shape_text(self.in_shape_)}"
            )
        return self.scaler_.to_net(validate_data(self, rows, reset=False, dtype=DTYPES))

    def _computed(self, function: Callable[[Any, Tensor], Tensor], x: Tensor) -> Tensor:
        """``function`` of the net and a batch, for all batches of x, on the CPU.

        Args:
            function: such as ``lambda net, batch: net(batch)``.
            x: N x shape.
        """
        device = hardware.device({"accelerator": "cpu" if self.accelerator == "cpu" else "auto"})
        # The estimator keeps its net on the CPU, so that it can be pickled on one machine and used on another.
        if device.type != "cpu":
            return _in_batches(function, deepcopy(self.net_).to(device), x.float(), device).to(x.dtype)
        # As in scikit-learn, compute in the precision of X. In float32, results depend slightly on the order of rows.
        if x.dtype == torch.float64:
            try:
                return _in_batches(function, deepcopy(self.net_).double(), x, device).to(x.dtype)
            except RuntimeError:  # a net that has float32 constants
                pass
        return _in_batches(function, self.net_, x.float(), device).to(x.dtype)

    # Training

    def _stages(self, chosen: tuple[str, ...]) -> Stages:
        """The stages of the config, or those of the files ``chosen``, before this estimator leaves any out."""
        return stages(self._name(), chosen, tuple(self._net_overrides()))

    def _name(self) -> str | None:
        """The name of the model; None if ``model`` is a net or makes one. Raises ValueError if it is neither."""
        if isinstance(self.model, str):
            catalogue.model_config(self.model)  # raises for an unknown name
            return self.model
        if not callable(self.model):
            raise ValueError(f"model={self.model!r} must be a name of zoo.list_models(), a net or a function")
        return None

    def _chosen(self) -> tuple[str, ...]:
        """The names of ``stage``."""
        if self.stage is None:
            return ()
        return (self.stage,) if isinstance(self.stage, str) else tuple(self.stage)

    def _net_arguments(self) -> dict[str, Any]:
        """The constructor arguments that the parameters set."""
        return {**({} if self.hidden is None else {"hidden": self.hidden}), **(self.net_params or {})}

    def _net_overrides(self) -> Iterator[str]:
        """The parameters of the net and ``overrides``, as overrides of the command line."""
        if isinstance(self.model, str):
            # The name of the class is not an argument.
            own = {key: value for key, value in catalogue.model_config(self.model)["net"].items() if key[0] != "_"}
            for key, value in self._net_arguments().items():
                if key not in own:
                    raise ValueError(f"model {self.model} has no argument {key!r}; {catalogue.suggest(key, [*own])}")
                # A single number of units means one hidden layer.
                if key == "hidden" and isinstance(own.get(key), list) and isinstance(value, Integral):
                    value = [value]
                yield override(f"model.net.{key}", value)
        if isinstance(self.overrides, str):
            raise ValueError(f"overrides={self.overrides!r} must be a list of strings")
        yield from self.overrides

    def _seed(self) -> int:
        """``random_state`` itself if it is a number; otherwise a number drawn from it, as in scikit-learn."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _train(
        self,
        rows: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None,
        shape: tuple[int, ...],
        *,
        plan: Stages,
        chosen: tuple[str, ...],
        more: Sequence[str] = (),
        num_classes: int = 0,
        validation: float = 0,
    ) -> None:
        """Train a new net, and set the attributes that end in an underscore.

        Args:
            rows: N x F.
            labels: N class numbers, or None.
            shape: shape of one input.
            plan: the stages of the config.
            chosen: the files of ``conf/stage`` to train by; empty: the model's own stages.
            more: overrides besides those of the parameters.
            num_classes: number of classes; 0 without labels.
            validation: fraction of the examples to hold out.
        """
        if self.accelerator not in ACCELERATORS:
            raise ValueError(f"accelerator={self.accelerator!r} must be one of: {', '.join(ACCELERATORS)}")
        seed = self._seed()
        # Scale here and not in `zoo.train`: in the precision of X, and also the data of `predict`.
        scaler = Scaler(self._scaling(plan), shape).fit(rows)
        y = torch.zeros(len(rows), dtype=torch.int64) if labels is None else torch.as_tensor(labels.astype(np.int64))
        names = tuple(map(str, range(num_classes)))
        train, held_out = hold_out(
            InMemory(scaler.to_net(rows).float(), y), validation, names=names, option="validation_fraction"
        )
        splits = Splits(train, held_out, None, shape, names, unlabeled="" if names else "an Encoder trains without y")

        # The inputs are scaled already. One device: several would start processes.
        fixed = ["dataset.scale=1", "model.input_scaling=unit"]
        fixed += [f"accelerator={self.accelerator}", "accelerator.devices=1"]
        named = self._name()
        with _isolated():
            result = api.train(
                named or self._make_net(seed, shape, num_classes),
                splits,
                stage=chosen or None,
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                seed=seed,
                overrides=[*fixed, *self._net_overrides(), *more],
                progress=False,
            )
        self.net_ = result.net.cpu()
        self.scaler_ = scaler
        self.in_shape_ = shape
        self.history_ = result.history

    def _scaling(self, plan: Stages) -> str:
        """The scaling of X; "auto" is the one that the model expects."""
        if self.scaling not in SCALINGS:
            raise ValueError(f"scaling={self.scaling!r} must be one of: {', '.join(SCALINGS)}")
        if self.scaling != "auto":
            return self.scaling
        return self._expected_scaling(plan)

    def _expected_scaling(self, plan: Stages) -> str:
        if plan.input_scaling == "whitened":
            raise ValueError(f"model={self.model!r} whitens its inputs, which estimators do not; use zoo.train")
        return "standard" if plan.input_scaling == "standardized" else "minmax"

    def _make_net(self, seed: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """A net of the user: a copy of ``model``, or what it returns. The weights are a function of the seed."""
        if isinstance(self.model, nn.Module):
            return deepcopy(self.model)
        # Pass the shapes to a function that takes them; a net may also have fixed shapes.
        assert callable(self.model)
        arguments = self._net_arguments()
        signature = inspect.signature(self.model).parameters.values()
        takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature)
        given = {"in_shape": shape, "num_classes": num_classes or None}
        for name, value in given.items():
            if takes_all or name in (parameter.name for parameter in signature):
                arguments.setdefault(name, value)
        # The generator of the CPU, on which a net is created; its state is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = self.model(**arguments)
        if not isinstance(net, nn.Module):
            raise ValueError(f"model returned a {type(net).__name__}, expected a torch.nn.Module")
        return net


@contextmanager
def _isolated() -> Iterator[None]:
    """Restore the filters of warnings and the environment, which training changes, after the block."""
    with RUN_LOCK, warnings.catch_warnings():
        environment = dict(os.environ)
        try:
            yield
        except ValueError as error:
            raise ValueError(_in_parameters(str(error))) from error
        finally:
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)


def _in_parameters(message: str) -> str:
    """A message of `zoo.train` that names the parameters of an estimator in place of the keys of the config."""
    message = re.sub(r"model\.stages\.\w+\.(?:optimizer\.)?(epochs|batch_size|lr|patience)(?==)", r"\1", message)
    message = re.sub(r"model\.net\.(\w+)(?==)", r"net_params['\1']", message)
    message = re.sub(r"^seed(?==)", "random_state", message)
    message = message.replace(" with the given data", "").replace("the given data: ", "X: ")
    return message.replace("model.input_scaling=unit", "scaling='minmax'")


@torch.no_grad()
def _in_batches(function: Callable[[Any, Tensor], Tensor], net: nn.Module, x: Tensor, device: torch.device) -> Tensor:
    """``function`` of the net and a batch on the device, for all batches of x; the result is on the CPU."""
    size = max(1, min(BATCH, MAX_VALUES // prod(x.shape[1:])))
    batches = (x[first : first + size].to(device) for first in range(0, len(x), size))
    return torch.cat([function(net, batch).cpu() for batch in batches])
