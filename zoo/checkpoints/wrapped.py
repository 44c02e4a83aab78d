"""The protocols of nets that another library builds, such as `zoo.models.TorchvisionNet` and `zoo.models.TimmNet`."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class FromLibrary(Protocol):
    """A class of nets that another library builds, or one of its nets.

    Attributes:
        library: the package, torchvision or timm.
    """

    library: str


@runtime_checkable
class Wrapped(FromLibrary, Protocol):
    """A net that wraps an architecture of another library.

    All four are plain attributes, so `isinstance` finds them.

    Attributes:
        architecture: the library's name of the architecture.
        size: height and width of the images that its first layer sees.
        original_names: name of every tensor in the net's ``state_dict`` -> its name in the library.
    """

    architecture: str
    size: tuple[int, ...]
    original_names: dict[str, str]


@runtime_checkable
class Converting(Protocol):
    """A net whose library can convert weights that do not fit it as they are."""

    def converted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Tensors by the library's or the authors' names -> by the net's names; None if they do not fit either."""
