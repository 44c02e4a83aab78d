"""Protocols (`typing.Protocol`) for nets: `isinstance(net, Generative)` tells whether a net has the methods.

A user-defined net works with every feature whose methods it implements; it inherits from nothing. Protocols that are
checked at run time (`@runtime_checkable`) name methods and plain attributes only: ``isinstance`` does not find
parameters and submodules of an ``nn.Module`` in Python 3.12 and later. Imports torch only.
"""

from zoo.protocols.boltzmann import (
    BeliefNet,
    Centering,
    Contrasting,
    HasPseudoLikelihood,
    RBMLayer,
    SharesWeights,
    StackOfRBMs,
    Units,
)
from zoo.protocols.nets import (
    HEADS,
    ChangesConfig,
    Classifier,
    Decoding,
    Generative,
    HasAuxiliaryHeads,
    HasHead,
    HasJacobian,
    HasLabelUnits,
    HasOutputs,
    Net,
    PartlyGenerative,
    Reconstructing,
    Unrollable,
    eval_mode,
    head_of,
    layers_of,
    shape_text,
)

__all__ = [
    "HEADS",
    "BeliefNet",
    "Centering",
    "ChangesConfig",
    "Classifier",
    "Contrasting",
    "Decoding",
    "Generative",
    "HasAuxiliaryHeads",
    "HasHead",
    "HasJacobian",
    "HasLabelUnits",
    "HasOutputs",
    "HasPseudoLikelihood",
    "Net",
    "PartlyGenerative",
    "RBMLayer",
    "Reconstructing",
    "SharesWeights",
    "StackOfRBMs",
    "Units",
    "Unrollable",
    "eval_mode",
    "head_of",
    "layers_of",
    "shape_text",
]
