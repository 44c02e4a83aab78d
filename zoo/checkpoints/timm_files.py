"""The official weights of timm: find them by name, in the cache of the Hugging Face hub or by a download.

timm is an optional package, imported when a function needs it. May import data.
"""

import json
from pathlib import Path
from typing import Any

from zoo.checkpoints import hub
from zoo.checkpoints.wrapped import Wrapped
from zoo.data.preprocess import Preprocess


def entries(net: object) -> dict[str, Any]:
    """timm's weights for the net's architecture: name -> config; empty if the net is not from timm.

    The first is DEFAULT, timm's own choice. Weights that are not a file of tensors on the hub are left out.
    """
    if not isinstance(net, Wrapped) or net.library != "timm":
        return {}
    from timm import models

    # A config without a file describes the architecture only.
    found = models.get_arch_pretrained_cfgs(net.architecture)
    configs = [config for config in found.values() if config.hf_hub_id]
    default = models.get_pretrained_cfg(net.architecture)
    named = {"DEFAULT": default} if default in configs else {}
    return named | {config.tag: config for config in configs if config.tag}


def fetch(config: Any, *, weights: str) -> tuple[Path, str]:
    """The file of an entry in the hub's cache, and its address with the commit, which `weights=` accepts as well.

    Raises:
        ValueError: huggingface_hub is not installed, or the file in the cache is damaged.
        FileNotFoundError: it is not in the cache, and there is no network.
    """
    repository = str(config.hf_hub_id)
    path = hub.download(repository, config.hf_hub_filename or hub.WEIGHTS, revision=None, weights=weights)
    # The cache has a folder for each commit.
    return path, f"{hub.PREFIX}{repository}@{path.parent.name}"


def preset(config: Any) -> Preprocess | None:
    """The preprocessing of an entry."""
    # As in a config.json, where tuples are lists.
    return hub.preprocess({"pretrained_cfg": json.loads(json.dumps(config.to_dict()))})


def usual_preset(net: object) -> Preprocess | None:
    """The preprocessing to assume for weights of unknown origin: that of timm's default; None if unknown."""
    if not isinstance(net, Wrapped) or net.library != "timm":
        return None
    from timm import models

    config = models.get_pretrained_cfg(net.architecture)
    return None if config is None else preset(config)
