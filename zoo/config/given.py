"""Configs that stand for a net, or for data, that a program passes to `zoo.train`.

They are not files, so that no list of models or datasets contains them. Importing this module registers them with Hydra
as ``model=given`` and ``dataset=given``.
"""

from hydra.core.config_store import ConfigStore

from zoo.config.catalogue import GIVEN

__all__ = ["GIVEN"]

_MODEL = {"name": GIVEN, "about": {}, "net": {}, "input_scaling": "unit", "stages": {}}
_DATASET = {
    "defaults": [{"/augment@augment": "none"}, "_self_"],
    "name": GIVEN,
    "license": "",
    "source": {},
    "validation": 0,
}

ConfigStore.instance().store(group="model", name=GIVEN, node=_MODEL)
ConfigStore.instance().store(group="dataset", name=GIVEN, node=_DATASET)
