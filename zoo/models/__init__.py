"""Model architectures: pure ``nn.Module``s, one model per file.

They may import torch, `zoo.protocols` and each other; `torchvision_net` also imports torchvision, `timm_net` timm.

Every classifier has ``forward(x)``, which returns the logits (or the regression output), and
``reset_head(num_classes)``, which makes a new head. ``encode(x, depth=None)`` returns the features below the head; nets
with a head compute the logits from them by ``forward_head(features)``. Autoencoders, RBMs and DBNs have
``reconstruct(x)``; RBMs and DBNs also have ``sample(n)``. Without classes, their ``forward`` returns the latent code.
`zoo.protocols` lists the methods of each kind of net.

**Adding a model** takes two files: ``zoo/models/NAME.py`` with its class, and ``conf/model/NAME.yaml``, which names the
class (``_target_: zoo.models.CLASS``), the arguments and the stages that train it. Nothing has to be registered: every
class of this folder that takes ``in_shape`` and can be built without arguments is found below and exported. The imports
by name are for type checkers and editors, which cannot see what is found at run time: a model that ships with the zoo
gets a line there and in ``__all__`` too.
"""

from importlib import import_module
from inspect import Parameter, signature
from pkgutil import iter_modules
from types import ModuleType

from torch import nn

from zoo.models.activations import ACTIVATIONS, activation
from zoo.models.autoencoder import Autoencoder
from zoo.models.conv_dbn import ConvDBN
from zoo.models.conv_rbm import ConvRBM
from zoo.models.dbn import DBN
from zoo.models.fixed_conv import KERNELS, FixedConv
from zoo.models.inception import GoogLeNet, InceptionBlock, InceptionSmall
from zoo.models.lenet import LeNet
from zoo.models.lenet5 import LeNet5
from zoo.models.lenet1998 import LeNet1998
from zoo.models.mlp import MLP
from zoo.models.rbm import RBM
from zoo.models.stacked_autoencoder import StackedAutoencoder
from zoo.models.timm_net import TimmNet
from zoo.models.torchvision_net import TorchvisionNet, resnet

# By name, for type checkers and editors.
__all__ = [
    "ACTIVATIONS",
    "DBN",
    "KERNELS",
    "MLP",
    "RBM",
    "Autoencoder",
    "ConvDBN",
    "ConvRBM",
    "FixedConv",
    "GoogLeNet",
    "InceptionBlock",
    "InceptionSmall",
    "LeNet",
    "LeNet5",
    "LeNet1998",
    "StackedAutoencoder",
    "TimmNet",
    "TorchvisionNet",
    "activation",
    "resnet",
]


def find_models(package: ModuleType) -> dict[str, type[nn.Module]]:
    """The model classes that the modules of a package define, by name.

    A model is a public ``nn.Module`` class that takes ``in_shape`` and can be built without arguments; this leaves out
    layers, heads and base classes.
    """
    # Import every module of the folder, and look at every class in it.
    found: dict[str, type[nn.Module]] = {}
    for info in iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{info.name}")
        for name, member in vars(module).items():
            # A module also holds the classes that it imports; each counts only where it is defined.
            if not isinstance(member, type) or member.__module__ != module.__name__ or name.startswith("_"):
                continue
            if issubclass(member, nn.Module) and _is_model(member):
                found[name] = member
    return found


def _is_model(kind: type[nn.Module]) -> bool:
    # A layer takes no ``in_shape``; a base class has no default for it.
    arguments = signature(kind).parameters
    return "in_shape" in arguments and all(argument.default is not Parameter.empty for argument in arguments.values())


# Export every model of this folder under its own name, also those that are not imported by name above.
MODELS = find_models(import_module(__name__))
globals().update(MODELS)
__all__ += sorted(MODELS.keys() - set(__all__))
