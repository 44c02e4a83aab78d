"""``zoo show NAME``: a model's card in the terminal - paper, deviations, layers with output shapes, parameters."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.config.catalogue import list_checkpoints, list_models, model_config, suggest


def main(words: Sequence[str]) -> None:
    """Print the card of a model, or of a checkpoint by name or path.

    Raises:
        ValueError: not exactly one name, or one that there is not.
    """
    if len(words) != 1:
        raise ValueError(f"name one model: {', '.join(list_models())}")
    name = words[0]
    if name in list_models():
        _show_model(name)
    elif name in list_checkpoints() or "/" in name or name.endswith(".safetensors"):
        _show_checkpoint(name)
    else:
        raise ValueError(f"no model or checkpoint {name!r}; {suggest(name, [*list_models(), *list_checkpoints()])}")


def _show_model(name: str) -> None:
    import torch

    from zoo.api import create
    from zoo.data.splits import shape_text

    about, node = model_config(name)["about"], model_config(name)["net"]
    # `linear` is shown for the dataset it is meant for; all others for their own defaults.
    net = create(name, in_shape=(1,), num_classes=1) if name == "linear" else create(name)
    console = Console(highlight=False)
    console.print(f"[bold]{name}[/bold]: {about['title']}")
    console.print(f"paper: {about['paper']}")
    for deviation in about["deviations"]:
        console.print(f"  deviates: {deviation}")
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(path: str):
        def hook(module, inputs, output) -> None:
            shapes[path] = tuple(output.shape[1:])

        return hook

    for path, module in net.named_modules():
        module.register_forward_hook(remember(path))
    in_shape, forward = tuple(net.in_shape), getattr(net, "forward_with_auxiliaries", net)
    net.eval()
    with torch.no_grad():
        forward(torch.zeros(1, *in_shape))
    table = Table(title=f"input {shape_text(in_shape)}", title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("what")
    table.add_column("output", justify="right")
    table.add_column("parameters", justify="right")
    rows: list[tuple[str, Any]]
    rows = [(f"layers.{key}", layer) for key, layer in getattr(net, "layers", torch.nn.Module()).named_children()]
    rows += [("head", net.head)] if getattr(net, "head", None) else []
    rows = rows or [("", net)]
    rows += [(f"auxiliaries.{key}", head) for key, head in getattr(net, "auxiliaries", torch.nn.ModuleDict()).items()]
    for path, module in rows:
        count = sum(parameter.numel() for parameter in module.parameters())
        output = shapes.get(path) or (module.weight.shape[0],)  # not called itself: its units
        table.add_row(path or name, _what(module), shape_text(output), f"{count:,}")
    console.print(table)
    console.print(f"{sum(p.numel() for p in net.parameters()):,} parameters, {about['layers']} layers with weights")
    console.print(f"zoo train model={name}    zoo.create({name!r})    built by {node['_target_']}")


def _show_checkpoint(name: str) -> None:
    from zoo.checkpoints.checkpoint import info
    from zoo.data.splits import shape_text

    about = info(name)
    console = Console(highlight=False)
    console.print(f"[bold]{name}[/bold]: {about.name} on {about.dataset}, {about.num_params:,} parameters")
    console.print(f"trained by: {about.command}", soft_wrap=True)
    for metric, value in sorted(about.metrics.items()):
        console.print(f"  {metric} {value:.4f}")
    console.print(f"classes: {', '.join(about.classes) or 'none (regression)'}", soft_wrap=True)
    console.print(f"data licence: {about.license}")
    console.print(f"input: {shape_text(about.transforms().shape)}")
    console.print(f"made with: {', '.join(f'{name} {version}' for name, version in about.versions.items())}")


def _what(module) -> str:
    names = [type(part).__name__ for part in module.modules() if not list(part.children())]
    names = [name for name in names if name not in ("Identity", "Dropout", "Flatten")]
    return type(module).__name__ if not names or len(names) > 4 else " ".join(names)
