"""What a net makes of one image: probabilities, activations, Grad-CAM, reconstruction, code."""

from time import perf_counter
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from zoo.analysis.gradcam import gradcam
from zoo.data import images
from zoo.demo import layers
from zoo.demo.drawing import FRAMINGS, Stroke, frame, rasterize
from zoo.demo.exhibits import Exhibit
from zoo.demo.uploads import ink_of

MAX_CODE = 64  # values of a code that is shown as bars
MAX_CLASSES = 10  # classes that are listed, the most likely ones if there are more


def describe(exhibit: Exhibit) -> dict[str, Any]:
    """What the page has to know about a checkpoint before there is an image."""
    return {
        "shape": list(exhibit.shape),
        "classes": exhibit.about.classes,
        "framing": exhibit.framing,
        "dreams": exhibit.generative is not None,
        "labels": exhibit.has_labels,
    }


def drawn(exhibit: Exhibit, strokes: list[Stroke], framing: str) -> Tensor:
    """A drawing as bytes of an image for the net, C x H x W.

    Raises:
        ValueError: the drawing is empty.
    """
    _, height, width = exhibit.shape
    return _as_input(exhibit, frame(rasterize(strokes), height, width, FRAMINGS.get(framing)))


def pictured(exhibit: Exhibit, picture: Image.Image, framing: str) -> Tensor:
    """An uploaded picture as bytes of an image for the net, C x H x W.

    A picture for a net of drawings is framed like a drawing. Any other picture is prepared as ``zoo predict`` does.

    Raises:
        ValueError: the picture cannot be used; the message says why.
    """
    channels, height, width = exhibit.shape
    chosen = FRAMINGS.get(framing)
    if channels == 1 and chosen is not None:
        try:
            ink = frame(ink_of(picture, is_line=framing != "fashion_mnist"), height, width, chosen)
        except ValueError as error:
            raise ValueError("nothing stands out from the background of this picture; choose another one") from error
        return _as_input(exhibit, ink)
    side, interpolation = exhibit.preprocess.side, exhibit.preprocess.interpolation
    return images.to_tensor(picture, exhibit.shape, resize=True, side=side, interpolation=interpolation)


def answer(exhibit: Exhibit, raw: Tensor, target: int | None = None, *, brief: bool = False) -> dict[str, Any]:
    """Everything that the page shows about one image.

    Args:
        exhibit: the net.
        raw: C x H x W bytes.
        target: number of the class that Grad-CAM explains; None: the most likely one.
        brief: leave out the activations, Grad-CAM and the code, for nets that take long.
    """
    start = perf_counter()
    net = exhibit.net
    x = exhibit.preprocess(raw[None].to(exhibit.device))  # 1 x C x H x W
    # Show a whitened image whitened, as the net sees it: its reconstruction has no brightness either.
    seen = raw if exhibit.preprocess.whitening == "none" else exhibit.pixels(x)[0]
    found: dict[str, Any] = {"seen": layers.image(seen)}
    with torch.inference_mode():
        if exhibit.about.classes:
            found.update(_predicted(exhibit, x))
        if exhibit.reconstructing is not None:
            found["reconstruction"] = layers.image(exhibit.pixels(exhibit.reconstructing.reconstruct(x))[0])
        if not brief:
            found["layers"] = layers.activations(net, x)
        if exhibit.decoding is not None and not brief:
            code = exhibit.decoding.encode(x)[0].flatten()
            if len(code) <= MAX_CODE:
                found["code"] = [round(value, 4) for value in code.tolist()]
    if not brief:
        found["heat"] = _heat(exhibit, x, target)
    found["milliseconds"] = round(1000 * (perf_counter() - start), 1)
    return found


def decoded(exhibit: Exhibit, code: list[float]) -> dict[str, Any]:
    """The image of a latent code.

    Raises:
        ValueError: the net has no decoder, or its code has another length.
    """
    if exhibit.decoding is None:
        raise ValueError("this net has no decoder")
    with torch.inference_mode():
        width = exhibit.decoding.encode(torch.zeros(1, *exhibit.shape, device=exhibit.device)).shape[1]
        if len(code) != width:
            raise ValueError(f"code: {len(code)} numbers, but the code of this net has {width}")
        flat = exhibit.decoding.decode(torch.tensor([code], device=exhibit.device))
    return {"image": layers.image(exhibit.pixels(flat)[0])}


def _as_input(exhibit: Exhibit, ink: Tensor) -> Tensor:
    """White on black, 1 x H x W, as an input: with the net's channels, and black on white if it was trained so."""
    if exhibit.preprocess.dark_border is False:
        ink = 255 - ink
    return ink.expand(exhibit.shape[0], -1, -1).contiguous()


def _predicted(exhibit: Exhibit, x: Tensor) -> dict[str, Any]:
    """The probabilities of the classes, in their order; of many classes only the most likely ones, the best first."""
    p = exhibit.probabilities(exhibit.net(x).float())[0].cpu()  # K
    best = p.topk(min(MAX_CLASSES, len(p))).indices.tolist()
    shown = best if len(p) > MAX_CLASSES else list(range(len(p)))
    return {
        "best": best[0],
        "probabilities": [{"class": k, "name": exhibit.about.classes[k], "p": round(float(p[k]), 6)} for k in shown],
    }


def _heat(exhibit: Exhibit, x: Tensor, target: int | None) -> dict[str, Any] | None:
    """The Grad-CAM map of a class; None if the net has no classes or no feature maps."""
    classes = exhibit.about.classes
    if not classes:
        return None
    if target is not None and target >= len(classes):
        raise ValueError(f"target={target}: this net has {len(classes)} classes")
    wanted = None if target is None else torch.tensor([target])
    try:
        heat, explained = gradcam(exhibit.net, x, wanted)
    except ValueError:
        return None
    return {"class": int(explained[0]), **layers.encoded(heat[0])}
