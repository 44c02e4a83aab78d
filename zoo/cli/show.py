"""``zoo show NAME [--json]``: show a model (paper, deviations, layers with shapes, parameters) or a checkpoint."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli.list_models import JSON, described
from zoo.config import trust
from zoo.config.catalogue import list_checkpoints, list_models, model_config, suggest
from zoo.config.console import print_table, say, say_wrapped

if TYPE_CHECKING:  # torch takes long to import, and an unknown name needs no torch
    from torch import nn

HIDDEN_LAYERS = ("Identity", "Dropout", "Flatten")  # not shown: in eval mode they do not change any value
PATHS = ("root", "image_root")  # keys of a dataset that are paths
MAX_LAYERS = 4  # a module with more layers is described by its class


def main(arguments: Sequence[str]) -> None:
    """Print the description of a model, or of a checkpoint by its name or path; with ``--json`` as a JSON object.

    Raises:
        ValueError: not exactly one name, or an unknown one.
    """
    # A name is that of a model or of a checkpoint; a path is that of a checkpoint.
    names = [argument for argument in arguments if argument != JSON]
    if len(names) != 1:
        choices = ", ".join([*list_models(), *list_checkpoints()])
        raise ValueError(f"expected one name of a model or checkpoint, or one path; choose from {choices}")
    name = names[0]
    as_json = JSON in arguments
    if name in list_models():
        _show_model(name, as_json=as_json)
    elif name in list_checkpoints() or "/" in name or name.endswith(".safetensors") or Path(name).exists():
        _show_checkpoint(name, as_json=as_json)
    else:
        hint = suggest(name, [*list_models(), *list_checkpoints()])
        raise ValueError(f"no model or checkpoint {name!r}; {hint}; a model of your own package needs --trust PACKAGE")


def _show_model(name: str, *, as_json: bool) -> None:
    """Print the title, paper and deviations of a model, and a table of its layers."""
    from zoo.api import create
    from zoo.protocols import shape_text

    # Build the net for its default input. `linear` has none, so use one input and one output.
    net = create(name, in_shape=(1,), num_classes=1) if name == "linear" else create(name)
    shapes = _output_shapes(net)

    # One row per layer, then the head, then the auxiliary heads.
    rows: list[tuple[str, str, list[int], int]] = []
    for path, module in _rows(net):
        num_params = sum(parameter.numel() for parameter in module.parameters())
        # `forward` does not call every layer, such as the RBMs of a DBN: show the number of hidden units of such a
        # layer. Nothing is shown of the outputs of a net that does not state the shape of its input.
        units = [parameter.shape[0] for parameter in module.parameters()][:1] if shapes else []
        rows.append((path or name, _describe(module), list(shapes.get(path) or units), num_params))
    num_params = sum(parameter.numel() for parameter in net.parameters())
    about = described(model_config(name))
    if as_json:
        keys = ("path", "type", "output", "parameters")
        modules = [dict(zip(keys, row, strict=True)) for row in rows]
        in_shape = list(net.in_shape) if shapes else None
        _print_json({"name": name, **about, "parameters": num_params, "in_shape": in_shape, "modules": modules})
        return

    # The title, paper and deviations, from its YAML.
    say_wrapped(f"{name}: {about['title'] or about['class']}")
    if about["paper"]:
        say_wrapped(f"paper: {about['paper']}")
    for deviation in about["deviations"]:
        say_wrapped(f"  deviation: {deviation}")
    # The layers.
    columns = ("layer", "type", "output", "parameters")
    title = f"input {shape_text(net.in_shape)}" if shapes else "input of any shape that the net takes"
    cells = [(layer, kind, shape_text(shape), f"{count:,}") for layer, kind, shape, count in rows]
    print_table(title, columns, cells, right=columns[2:])
    depth = f", {about['layers']} layers with weights" if about["layers"] is not None else ""
    say(f"{num_params:,} parameters{depth}")
    # How to use the model.
    flags = "".join(f"--trust {package} " for package in trust.given())
    say(f"command: zoo train {flags}model={name}")
    granted = "".join(f'zoo.trust("{package}"); ' for package in trust.given())
    say(f"Python: {granted}zoo.create({name!r})")
    say(f"class: {about['class']}")


def _output_shapes(net: "nn.Module") -> dict[str, tuple[int, ...]]:
    """The output shape of every module that is called for one input, without the batch dimension.

    Empty for a net of a user that does not state the shape of its input.
    """
    import torch

    from zoo.checkpoints.own_net import Sized
    from zoo.protocols import HasAuxiliaryHeads, eval_mode

    shapes: dict[str, tuple[int, ...]] = {}
    if not isinstance(net, Sized):
        return shapes

    def remember(path: str) -> Callable[..., None]:
        def hook(module: object, inputs: object, output: Any) -> None:
            shapes[path] = tuple(output.shape[1:])

        return hook

    # Run one input of zeros through the net, with a hook on every module.
    handles = [module.register_forward_hook(remember(path)) for path, module in net.named_modules()]
    x = torch.zeros(1, *net.in_shape)
    with eval_mode(net), torch.no_grad():
        if isinstance(net, HasAuxiliaryHeads):
            net.forward_with_auxiliaries(x)
        else:
            net(x)
    for handle in handles:
        handle.remove()
    return shapes


def _rows(net: "nn.Module") -> list[tuple[str, "nn.Module"]]:
    """The modules to show, with their paths in the net; a net of one layer is one row with the path ""."""
    from zoo.protocols import HEADS

    # The layers, from the input up.
    children = dict(net.named_children())
    rows: list[tuple[str, nn.Module]] = []
    if "layers" in children:
        rows += [(f"layers.{key}", layer) for key, layer in children["layers"].named_children()]
    for name in HEADS:
        if name not in children:
            continue
        # The head is one module, the auxiliary heads are a ModuleDict.
        module = children[name]
        if name == "head":
            rows.append((name, module))
        else:
            rows += [(f"{name}.{key}", head) for key, head in module.named_children()]
    # A net of a user may have other submodules.
    own = set(children) - {"layers", *HEADS}
    if own and not str(type(net).__module__).startswith("zoo."):
        return list(children.items())
    return rows or [("", net)]


def _describe(module: "nn.Module") -> str:
    """The classes of the layers inside a module, or its own class if there are more than `MAX_LAYERS`."""
    # The innermost modules, without `HIDDEN_LAYERS`.
    layers = [type(part).__name__ for part in module.modules() if not list(part.children())]
    layers = [name for name in layers if name not in HIDDEN_LAYERS]
    if not layers or len(layers) > MAX_LAYERS:
        return type(module).__name__
    return " ".join(layers)


def _print_json(content: dict[str, Any]) -> None:
    """Print a JSON object. Characters outside ASCII are escaped, so no text in a checkpoint controls the terminal."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def _show_checkpoint(name: str, *, as_json: bool) -> None:
    """Print the description of a checkpoint."""
    from zoo.checkpoints.checkpoint import info
    from zoo.protocols import shape_text

    # Read only the header of the file.
    about = info(name)
    if as_json:
        given = {key: value for key, value in vars(about).items() if key != "file"}
        _print_json({"checkpoint": name, **given, "temperature": about.temperature})
        return
    versions = ", ".join(f"{package} {version}" for package, version in about.versions.items())
    say_wrapped(f"{name}: {about.title} on {about.dataset}, {about.num_params:,} parameters")
    say(f"trained by: {about.command}")
    for metric, value in sorted(about.metrics.items()):
        say(f"  {metric} {value:.4f}")
    say(f"classes: {', '.join(about.classes) or 'none'}")
    say_wrapped(f"data license: {about.license}")
    # Paths on the machine of the author, which whoever publishes the file wants to know.
    for key in PATHS:
        path = about.dataset_config.get(key)
        if isinstance(path, str):
            say(f"dataset.{key}: {path}")
    say(f"input: {shape_text(about.transforms().shape)}")
    # What a package of a user has to give: for loading, or for evaluation only.
    source = about.dataset_config.get("source")
    parts = {
        "class": about.net.get("_target_"),
        "task": about.task.get("_target_"),
        "loss": about.task.get("loss"),
        "dataset": source.get("_target_") if isinstance(source, dict) else None,
    }
    for part, target in parts.items():
        if trust.is_path(target) and not str(target).startswith("zoo."):
            say(f"{part}: {target}, which needs --trust {str(target).partition('.')[0]}")
    say_wrapped(f"made with: {versions}")
