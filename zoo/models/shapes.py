"""Checks of shapes and widths, made before anything is built. Imports `zoo.protocols` only."""

from collections.abc import Sequence

from zoo.protocols import shape_text


def image(in_shape: Sequence[int], *, minimum: int = 1) -> tuple[int, int, int]:
    """Channels, height and width of an image.

    Args:
        in_shape: channels x height x width.
        minimum: the fewest pixels that height and width may have.

    Raises:
        ValueError: ``in_shape`` is not the shape of an image, or the image is too small.
    """
    # An image has three positive sizes.
    if len(in_shape) != 3 or min(in_shape) < 1:
        raise ValueError(f"this net takes images (channels x height x width), in_shape is {shape_text(in_shape)}")
    channels, height, width = in_shape
    if min(height, width) < minimum:
        raise ValueError(
            f"this net takes images of at least {minimum}x{minimum} pixels, in_shape is {shape_text(in_shape)}"
        )
    return channels, height, width


def check_widths(**named: int | Sequence[int]) -> None:
    """Raise ValueError if a number of units, maps or classes is below 1; the message names it."""
    for name, value in named.items():
        # A single width, or a list of them.
        widths = [value] if isinstance(value, int) else value
        if any(width < 1 for width in widths):
            raise ValueError(f"{name}={value} must be >= 1")


def per_layer(name: str, option: int | Sequence[int], layers: int, *, minimum: int = 1) -> list[int]:
    """One value for each layer, from a single value or from a list with one value per layer.

    Args:
        name: name of the option, for the error message.
        option: the value, or the list.
        layers: number of layers.
        minimum: the smallest value allowed.

    Raises:
        ValueError: the list has another length, or a value is not an integer >= ``minimum``.
    """
    # Repeat a single value for all layers.
    values = list(option) if isinstance(option, Sequence) else [option] * layers
    if not all(isinstance(value, int) and value >= minimum for value in values):
        raise ValueError(f"{name}={option} must be an integer >= {minimum}, or a list of them")
    if len(values) != layers:
        raise ValueError(f"{name} has {len(values)} values for {layers} layers")
    return values


def side_after(side: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Height or width of a map after a convolution or a pooling layer, as torch rounds it, in pixels.

    Args:
        side: height or width before the layer, in pixels.
        kernel: side of the kernel or of the pooling window.
        stride: its step.
        padding: rows of zeros on each side of the map.
        dilation: distance between the elements of the kernel.

    Raises:
        ValueError: the padded map is smaller than the kernel.
    """
    span = dilation * (kernel - 1) + 1  # from the first to the last element of the kernel
    room = side + 2 * padding - span
    if room < 0:
        what = "pixels, padding included," if padding else "pixels"
        raise ValueError(f"{side + 2 * padding} {what} are fewer than the {span} that a kernel or window covers")
    return room // stride + 1
