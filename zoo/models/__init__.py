"""What is learned: pure ``nn.Module``s, one model a file, torch only (torchvision once a `TorchvisionNet` is made).

Every classifier answers to the same verbs: ``forward(x)`` gives logits (or the regression output),
``encode(x, depth=None)`` the features below the head, ``reset_head(num_classes)`` a new head. Nets that generate or
code have ``reconstruct(x)``, and ``sample(n)`` where they are a distribution; without classes ``forward`` is the code.
"""

from zoo.models.activations import ACTIVATIONS, activation
from zoo.models.autoencoder import Autoencoder
from zoo.models.dbn import DBN
from zoo.models.fixed_conv import KERNELS, FixedConv
from zoo.models.inception import GoogLeNet, InceptionBlock, InceptionSmall
from zoo.models.lenet import LeNet, LeNet5
from zoo.models.lenet1998 import LeNet1998
from zoo.models.mlp import MLP
from zoo.models.rbm import RBM
from zoo.models.stacked_autoencoder import StackedAutoencoder
from zoo.models.torchvision_net import TorchvisionNet, resnet

__all__ = [
    "ACTIVATIONS",
    "DBN",
    "KERNELS",
    "MLP",
    "RBM",
    "Autoencoder",
    "FixedConv",
    "GoogLeNet",
    "InceptionBlock",
    "InceptionSmall",
    "LeNet",
    "LeNet5",
    "LeNet1998",
    "StackedAutoencoder",
    "TorchvisionNet",
    "activation",
    "resnet",
]
