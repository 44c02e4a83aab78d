"""LeNet-5 in its modern form (LeCun, Bottou, Bengio & Haffner 1998, section II.B and figure 2).

Imports torch and the zoo's models only.

The figure in words: a convolution computes a map for each kernel, which shows where in the image the pattern of the
kernel is. Pooling halves the maps, so that the exact position matters less. After two rounds of convolution and
pooling, fully connected layers classify the flattened maps.

This is the form that is usually trained today. `zoo.models.lenet1998` is close to the net as published;
`zoo.models.lenet` has configurable convolutions.

Deviations from the paper:

1. C3 is connected to all six maps of S2; the paper's table I connects 60 of the 96 pairs.
2. Pooling takes the maximum, without trainable coefficients and biases.
3. The activation is ReLU; the paper's is a scaled hyperbolic tangent.
4. The output is linear, for cross-entropy; the paper measures distances to fixed class codes.
5. Padding of 2 in C1 replaces the paper's 32 x 32 frame around the 28 x 28 digit.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from zoo.models.activations import activation as named_activation
from zoo.models.activations import pieces
from zoo.models.classifier import LayeredClassifier
from zoo.models.shapes import check_widths, image


class LeNet5(LayeredClassifier):
    """LeNet-5 in its modern form: 61,706 parameters for 1 x 28 x 28 images and 10 classes.

    Args:
        in_shape: channels, height and width of one image; at least 12 x 12 pixels.
        num_classes: number of outputs of the head; 0 or None for no head.
        kernels: number of maps of C1 and of C3.
        hidden: number of units of C5 and of F6.
        activation: after C1, C3, C5 and F6, by name (`zoo.models.ACTIVATIONS`).
        dropout: probability of dropping a unit of C5 and of F6, in [0, 1].

    Raises:
        ValueError: the image is too small, a width is below 1, there are not two ``kernels`` and two ``hidden``, or the
            activation is unknown.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = 10,
        kernels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        super().__init__(in_shape, num_classes)
        # Check the options before anything is built.
        channels, image_height, image_width = image(in_shape, minimum=12)
        check_widths(num_classes=num_classes or 1, kernels=kernels, hidden=hidden)
        if len(kernels) != 2 or len(hidden) != 2:
            raise ValueError(f"LeNet-5 has two convolutions and two hidden layers, not {kernels} and {hidden}")
        c1, c3 = kernels
        c5, f6 = hidden

        # The size of the maps of S4: halved by S2, four pixels fewer by the 5x5 kernels of C3, halved by S4.
        height = (image_height // 2 - 4) // 2
        width = (image_width // 2 - 4) // 2

        # Maxout needs two inputs for each unit; all other activations one.
        k = pieces(activation)

        def act() -> nn.Module:
            return named_activation(activation)

        self.layers = nn.Sequential(
            OrderedDict(  # N x 1 x 28 x 28
                c1=nn.Sequential(nn.Conv2d(channels, c1 * k, 5, padding=2), act()),  # N x 6 x 28 x 28
                s2=nn.MaxPool2d(2),  # N x 6 x 14 x 14
                c3=nn.Sequential(nn.Conv2d(c1, c3 * k, 5), act()),  # N x 16 x 10 x 10
                s4=nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),  # N x 16 x 5 x 5 -> N x 400
                c5=nn.Sequential(nn.Linear(c3 * height * width, c5 * k), act(), nn.Dropout(dropout)),  # N x 120
                f6=nn.Sequential(nn.Linear(c5, f6 * k), act(), nn.Dropout(dropout)),  # N x 84
            )
        )
        self.num_features = f6
        self.head = self.new_head(num_classes)  # N x 10
