"""Inference of all layers of a convolutional belief network together, and completion of partly known images (Lee et al.
2009, section 3.6). Imports torch and the zoo's models only.

If all pixels are known, the layers form one undirected model with the energy of the paper,

    E(v, h_1, …, h_L) = E_0(v, h_1) - Σ_k [h_{k+1} · (W_k correlated with p_k) + c_k Σ h_{k+1}]

A block of h_k then has the pre-activations of its units from below plus, for all of them, that of its pooling unit from
above. The visible biases of the upper RBMs are not part of it: the signal from above is evidence next to that of the
image, and the hidden biases say already that units are rarely on.

A unit in front of unknown pixels has no evidence from below, and nothing for its hidden bias to be weighed against.
There, the net is the directed one of Hinton et al. (2006, "A fast learning algorithm for deep belief nets"): the layer
above generates the pooling unit, with its visible bias, and all units of the block are equally probable. In between,
let f be the fraction that is known of what a unit sees, weighted by its squared weights. The pre-activations are

    W_k correlated with (known fraction of p_k) p_k  +  f c_k + (1 - f) (b_{k+1} - log(units of the block))  +  signal
                                                                                                        from above

where b_{k+1} is the visible bias of the RBM above. The top RBM is undirected. So nothing known means the distribution
of the belief network, and everything known the joint model of the paper; the path between them is a choice of this
project.

Shapes: N examples, K maps of H x W units in a hidden layer, and of P x Q pooling units.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.conv_rbm import ConvRBM


class Inferred(NamedTuple):
    """Means under the joint distribution of all layers, given the known pixels.

    Attributes:
        pixels: N x in_shape; known pixels as they are.
        pooled: the probabilities of the pooling units of each layer, N x K x P x Q.
    """

    pixels: Tensor
    pooled: list[Tensor]


class Evidence(NamedTuple):
    """What a hidden layer below the top knows.

    Attributes:
        below: the fraction of each unit of the layer below that is known, in its shape.
        bias: the biases of the hidden units, N x K x H x W.
    """

    below: Tensor
    bias: Tensor


class JointInference(nn.Module):
    """A stack of convolutional RBMs as one distribution. ``hidden`` holds the states (or means) of h_1, …, h_L."""

    layers: nn.ModuleList

    def rbm(self, layer: int) -> ConvRBM:
        """RBM number ``layer``, counted from 0 at the input; -1 is the top RBM."""
        rbm = self.layers[layer]
        assert isinstance(rbm, ConvRBM)
        return rbm

    @torch.no_grad()
    def infer(
        self,
        x: Tensor,
        *,
        known: Tensor | None = None,
        steps: int = 100,
        burn_in: int = 20,
        mean_field: bool = False,
    ) -> Inferred:
        """Means of all layers under their joint distribution given an image, from top-down and bottom-up signals.

        Args:
            x: N x in_shape.
            known: booleans that broadcast to x, False for pixels to be inferred; None: all pixels are known. The values
                of x at other pixels are only the start of the chains.
            steps: number of steps that are averaged, >= 1. A step updates the odd layers, then the even ones.
            burn_in: number of steps before them, >= 0.
            mean_field: use means in place of samples, as the paper does in most of its experiments; it is faster and
                needs few steps, but is an approximation.

        Raises:
            ValueError: ``steps`` or ``burn_in`` is out of range.
        """
        if steps < 1 or burn_in < 0:
            raise ValueError(f"steps={steps} must be >= 1 and burn_in={burn_in} must be >= 0")
        # Start from the features, then alternate. The means given the neighboring layers are averaged.
        evidence = self.evidence(x, known)
        v = x
        hidden = self._start(x)
        total: list[Tensor] = []
        for step in range(burn_in + steps):
            v, hidden, means = self._step(v, hidden, evidence, known=known, mean_field=mean_field)
            if step >= burn_in:
                total = [old + new for old, new in zip(total, means, strict=True)] if total else means
        pixels, *pooled = [each / steps for each in total]
        return Inferred(pixels if known is None else torch.where(known, x, pixels), pooled)

    def complete(self, x: Tensor, known: Tensor, *, steps: int = 100, burn_in: int = 20) -> Tensor:
        """The image with the pixels that are not known filled in by `infer`, N x in_shape."""
        return self.infer(x, known=known, steps=steps, burn_in=burn_in).pixels

    def energy(self, v: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """E(v, h_1, …, h_L) of the model in which all pixels are known, N."""
        total = self.rbm(0).energy(v, hidden[0])
        for k in range(1, len(self.layers)):
            rbm = self.rbm(k)
            below = self.rbm(k - 1).hidden.pool_states(hidden[k - 1])
            total = total + rbm.hidden.energy(hidden[k], rbm.hidden_bias) - rbm.joint(below, hidden[k])
        return total

    def evidence(self, x: Tensor, known: Tensor | None) -> list[Evidence] | None:
        """What each hidden layer below the top knows; None if all pixels are known. For the arguments see `infer`."""
        if known is None:
            return None
        below = known.expand_as(x).to(x.dtype)
        layers: list[Evidence] = []
        for k in range(len(self.layers) - 1):
            # The fraction of what each unit sees that is known.
            rbm, above = self.rbm(k), self.rbm(k + 1)
            squared = rbm.weight.square()
            fraction = F.conv2d(below, squared) / squared.sum(dim=(1, 2, 3))[:, None, None].clamp(min=1e-12)
            # Where it is 0, the bias of the pooling unit, which all units of the block share.
            units = rbm.hidden.spread(rbm.hidden.pool_states(torch.ones_like(fraction)))
            prior = above.visible_bias[:, None, None] - units.log()
            layers.append(Evidence(below, fraction * rbm.hidden_bias[:, None, None] + (1 - fraction) * prior))
            below = rbm.hidden.pool_states(fraction / units)
        return layers

    def hidden_input(
        self, v: Tensor, hidden: Sequence[Tensor], layer: int, evidence: Sequence[Evidence] | None = None
    ) -> Tensor:
        """Pre-activations of h_{k+1} for k = ``layer``, given the layers below and above it, N x K x H x W.

        Args:
            v: N x in_shape.
            hidden: states of the hidden layers; that of ``layer`` itself is not used.
            layer: index of the RBM whose hidden units are meant, from 0.
            evidence: see `evidence`; None: all pixels are known.
        """
        # From below: the image, or the pooling units of the layer below.
        rbm = self.rbm(layer)
        below = v if layer == 0 else self.rbm(layer - 1).hidden.pool_states(hidden[layer - 1])
        if layer + 1 == len(self.layers):
            return rbm.hidden_input(below)
        if evidence is None:
            a = rbm.hidden_input(below)
        else:
            a = F.conv2d(rbm.visible.signal(below) * evidence[layer].below, rbm.weight) + evidence[layer].bias
        # From above: the signal of a pooling unit reaches all units of its block.
        above = F.conv_transpose2d(hidden[layer + 1], self.rbm(layer + 1).weight)  # N x K x P x Q
        return a + rbm.hidden.spread(above)

    def _start(self, x: Tensor) -> list[Tensor]:
        """The hidden means from the bottom up."""
        hidden: list[Tensor] = []
        below = x
        for k in range(len(self.layers)):
            hidden.append(self.rbm(k).hidden_mean(below))
            below = self.rbm(k).hidden.pool_states(hidden[k])
        return hidden

    def _step(
        self,
        v: Tensor,
        hidden: Sequence[Tensor],
        evidence: Sequence[Evidence] | None,
        *,
        known: Tensor | None,
        mean_field: bool,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """One step: the new v and hidden states, and the means of the pixels and of the pooling units of each layer."""
        # Layers two apart are independent given those between them: h_1, h_3, … first, then v, h_2, h_4, …
        states = list(hidden)
        means: list[Tensor] = [v] * (len(states) + 1)
        for first in (0, 1):
            if first == 1 and known is not None:
                means[0] = self.rbm(0).visible_mean(states[0])
                drawn = means[0] if mean_field else self.rbm(0).sample_visible(states[0])
                v = torch.where(known, v, drawn)
            for k in range(first, len(states), 2):
                units = self.rbm(k).hidden
                a = self.hidden_input(v, states, k, evidence)
                states[k] = units.mean(a) if mean_field else units.sample(a)
                means[k + 1] = units.pool_mean(a)
        return v, states, means
