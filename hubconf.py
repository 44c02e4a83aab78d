"""The models for ``torch.hub``: ``torch.hub.load("reference-zoo/reference-zoo", "lenet5", pretrained=True)``.

torch.hub looks for this file at the root of a repository. Every model of ``conf/model`` is an entry point.
"""

from collections.abc import Callable
from typing import Any

import zoo
from zoo.config.catalogue import index, model_config

dependencies = ["torch", "torchvision", "safetensors", "omegaconf", "yaml", "numpy", "PIL"]


def _entry_point(name: str) -> Callable[..., Any]:
    """The function that creates a model."""
    about = model_config(name)["about"]
    checkpoints = [checkpoint for checkpoint, entry in index().items() if entry["model"] == name]
    # The one for MNIST by the plain recipe, if there is one.
    default = f"{name}-mnist" if f"{name}-mnist" in checkpoints else next(iter(checkpoints), None)

    def create(*, pretrained: bool | str = False, **arguments: Any) -> Any:
        if not pretrained:
            return zoo.create(name, **arguments)
        # A trained net has the arguments of its checkpoint.
        if arguments:
            raise ValueError(
                f"{name}: pretrained={pretrained} takes no further arguments, got {', '.join(arguments)}; for other "
                "classes, call net.reset_head(num_classes)"
            )
        checkpoint = default if pretrained is True else str(pretrained)
        if checkpoint is None or checkpoint not in checkpoints:
            found = f"choose from {', '.join(checkpoints)}" if checkpoints else "it has none"
            hint = "; pass weights='IMAGENET1K_V1'" if name.startswith("resnet") else ""
            raise ValueError(f"{name}: no checkpoint for pretrained={pretrained}; {found}{hint}")
        return zoo.load(checkpoint)

    create.__name__ = create.__qualname__ = name
    trained = f"True: {default}; or the name of one of {', '.join(checkpoints)}" if checkpoints else "there is none"
    create.__doc__ = (
        f"{about['title']} ({about['paper']}).\n\n"
        "Args:\n"
        f"    pretrained: False: random weights; a trained checkpoint in evaluation mode: {trained}.\n"
        "    arguments: without pretrained, those of zoo.create, such as num_classes=10, in_shape=(1, 28, 28).\n"
    )
    return create


globals().update({_name: _entry_point(_name) for _name in zoo.list_models()})
