"""Check raw inputs of ``zoo predict``, ``embed``, ``explain`` and ``evaluate``: scale, and dark or bright borders."""

import torch
from torch import Tensor

from zoo.data.preprocess import Preprocess, is_dark
from zoo.data.value_range import DARK, ValueRange, border

WHITE_OF_FILES = 255.0  # image files are decoded to bytes
TOGETHER = 2**20  # number of raw values that are checked together


def preprocess_for(preprocess: Preprocess, *, files: bool, scale: float | None, invert: bool) -> Preprocess:
    """The preprocessing for the inputs of a command.

    Args:
        preprocess: that of the checkpoint.
        files: whether the inputs are image files, whose white is 255.
        scale: the white level that the user has stated, or None.
        invert: exchange black and white.

    Raises:
        ValueError: an invalid ``scale``; ``invert`` for a checkpoint whose training data have no white level; or a
            checkpoint that was not trained on pixels and cannot take image files.
    """
    if scale is None and files:
        if preprocess.white is None:
            raise ValueError(
                f"this checkpoint was trained on values from {preprocess.low:g} to {preprocess.high:g}, not on pixels "
                "from black to white: save the inputs, on the scale of the training data, in an .npz file for zoo "
                "predict or zoo embed, or take the pixels as they are with scale=1 (zoo demo has no scale=)"
                if preprocess.low is not None and preprocess.high is not None
                else "this checkpoint was not trained on pixels from black to white; scale=1 takes the pixels as they "
                "are (zoo demo has no scale=)"
            )
        scale = WHITE_OF_FILES
    return preprocess.for_inputs(scale=scale, invert=invert)


class InputCheck:
    """Collects the range of the raw inputs that it is given, and the borders of images, batch by batch.

    ``zoo evaluate`` gives it only a sample of the images if they are in files.

    Args:
        preprocess: the result of `preprocess_for`.
        where: names the inputs, for messages.
        files: whether they are image files.
        stated: whether the user has stated their scale.
    """

    def __init__(self, preprocess: Preprocess, *, where: str, files: bool, stated: bool):
        self.preprocess = preprocess
        self.where = where
        self.files = files
        self.stated = stated
        self.waiting: list[Tensor] = []  # batches that are not yet taken into account
        self.range: ValueRange | None = None
        self.count = 0
        self.blank = 0  # number of images whose pixels are all the same
        self.border = 0.0  # sum over the images

    def add(self, raw: Tensor) -> None:
        """Take a batch into account, N x shape."""
        # Small batches are checked together, since the check of one would take longer than a small net.
        self.waiting.append(raw)
        if sum(batch.numel() for batch in self.waiting) >= TOGETHER:
            self._take()

    def _take(self) -> None:
        """Take the waiting batches into account."""
        raw = torch.cat(self.waiting)
        self.waiting.clear()
        found = ValueRange.of(raw)
        self.range = found if self.range is None else self.range | found
        self.count += len(raw)
        if raw.dim() == 4:
            pixels = raw.flatten(1)
            self.blank += int((pixels.amin(dim=1) == pixels.amax(dim=1)).sum())
            self.border += float(border(raw).sum())

    def finish(self) -> list[str]:
        """Check the range of these inputs, and return notes about them, one line each.

        Raises:
            ValueError: the values are on another scale than the training data.
        """
        if self.waiting:
            self._take()
        if self.range is None:
            return []
        # White is 255 in image files, so dark images are accepted. Masks of 0 and 1, which look black, are not.
        both = Tensor([self.range.low, self.range.high])
        is_mask = self.files and self.range.high == 1 and not self.stated
        self.preprocess.check_values(both, where=self.where, stated=self.stated or (self.files and not is_mask))
        notes: list[str] = []
        if len(self.preprocess.shape) != 3:
            return notes
        white = self.preprocess.white
        if white is not None and not self.stated and 0 < self.range.high < white / 2:
            kind = "nearly black" if self.range.high < white * DARK else "dark"
            notes.append(
                f"the images are {kind}: their maximum is {self.range.high:g}, white is {white:g}; "
                f"scale={self.range.high:g} makes the maximum white"
            )

        # Compare the borders with those of the training images.
        trained = self.preprocess.dark_border
        if white is not None and trained is not None:
            found = is_dark(self.border / self.count / white)
            if found is not None and found != trained:
                here, there = ("dark", "bright") if found else ("bright", "dark")
                if self.preprocess.inverts:
                    note = f"the images have a {here} border, as those of the training data have; leave out invert=true"
                else:
                    note = f"the images have a {here} border, those of the training data a {there} one; "
                    note += "invert=true exchanges black and white"
                notes.append(note)
        if self.blank:
            verb = "has" if self.blank == 1 else "have"
            notes.append(f"{self.blank:,} of {self.count:,} images {verb} the same value in all pixels")
        return notes
