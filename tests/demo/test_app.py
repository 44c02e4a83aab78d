"""The endpoints of the page: what they answer, and what they refuse."""

import base64
import http.client
import io
import json
import pickle
import socket

import numpy as np
import pytest
import torch
from PIL import Image
from scripted import as_json
from support import Touch

import zoo
from zoo.analysis.gradcam import gradcam
from zoo.checkpoints.description import CheckpointInfo
from zoo.data.preprocess import Preprocess
from zoo.demo import answers
from zoo.demo.drawing import FRAMINGS, Stroke, frame, rasterize
from zoo.demo.exhibits import Exhibit
from zoo.models import ConvRBM

DRAWING = {"strokes": as_json(3)}


def decoded(grid):
    """The values of an activation map, as the page reads them."""
    levels = np.frombuffer(base64.b64decode(grid["data"]), dtype=np.uint8).astype(float)
    values = (levels - 128) / 127 if grid["signed"] else levels / 255
    return (values * grid["scale"]).reshape(grid["shape"])


def pixels(image):
    return np.frombuffer(base64.b64decode(image["data"]), dtype=np.uint8).reshape(image["shape"])


def net_input(name, digit=3):
    """The image and the input that the net gets for a drawing of the digit."""
    lines = [
        Stroke(list(zip(line["points"][::2], line["points"][1::2], strict=True)), line["width"])
        for line in as_json(digit)
    ]
    raw = frame(rasterize(lines), 28, 28, FRAMINGS["mnist"])
    return raw, zoo.info(name).transforms()(raw[None])


def png(image, form="PNG"):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


# What is answered


def test_the_page_and_its_files_come_from_this_server_alone(site):
    status, page = site.get("/")
    assert (status, site.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in site.headers["content-security-policy"]
    assert b"http" not in page.replace(b"http-equiv", b"")
    for name in ("main.js", "paint.js", "style.css", "icon.svg"):
        status, content = site.get(f"/page/{name}")
        assert status == 200
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
        assert "innerHTML = `" not in text, "names of classes are texts, not HTML"


def test_the_list_has_every_checkpoint_with_its_metric(site):
    _, answer = site.get("/api/checkpoints")
    listed = {each["key"]: each for each in answer["checkpoints"]}
    assert listed["lenet5-mnist"]["title"] == "LeNet-5 with ReLU and max pooling"
    assert listed["lenet5-mnist"]["facts"] == ["61,706 parameters", "test accuracy 99.50 %"]
    assert listed["rbm-mnist"]["facts"][1].startswith("log-likelihood of a test image")
    assert site.photo in listed


def test_a_drawing_gives_the_probabilities_and_activations_of_the_net(site):
    status, answer = site.post("/api/drawing", "lenet5-mnist", DRAWING)
    assert status == 200
    raw, x = net_input("lenet5-mnist")
    net = zoo.load("lenet5-mnist")
    assert np.array_equal(pixels(answer["seen"])[..., 0], raw[0].numpy())
    assert answer["best"] == 3
    p = net(x).softmax(dim=1)[0]
    assert [row["p"] for row in answer["probabilities"]] == pytest.approx(p.tolist(), abs=1e-5)

    # Every layer, up to the rounding to bytes; s4 flattens maps, which are shown as maps.
    outputs = net.encode(x, list(range(1, 7)))
    assert [layer["name"] for layer in answer["layers"]] == ["c1", "s2", "c3", "s4", "c5", "f6"]
    assert answer["layers"][3]["shape"] == [16, 5, 5]
    for layer, output in zip(answer["layers"], outputs, strict=True):
        expected = output[0].detach().numpy().reshape(layer["shape"])
        np.testing.assert_allclose(decoded(layer), expected, atol=layer["scale"] / 250)

    # Grad-CAM of the predicted class, and of another one.
    for target in (None, 8):
        _, answer = site.post("/api/drawing", "lenet5-mnist", DRAWING | {"target": target})
        heat, classes = gradcam(net, x, None if target is None else torch.tensor([target]))
        assert answer["heat"]["class"] == int(classes[0])
        np.testing.assert_allclose(decoded(answer["heat"]), heat[0].numpy(), atol=0.01)


def test_a_brief_answer_has_the_probabilities_only(site):
    _, answer = site.post("/api/drawing", "lenet5-mnist", DRAWING | {"brief": True})
    assert answer["best"] == 3
    assert not {"layers", "heat", "code"} & set(answer)


def test_the_diagram_has_the_weights_between_the_units_that_are_drawn(site):
    _, answer = site.get("/api/checkpoint?checkpoint=mlp_16_16-mnist")
    found = answer["diagram"]
    net = zoo.load("mlp_16_16-mnist")
    weights = [net.layers[0][0].weight, net.layers[1][0].weight, net.head.weight]
    assert found["sizes"] == [784, 16, 16, 10]
    assert [len(units) for units in found["units"]] == [20, 16, 16, 10]
    assert {unit % 28 for unit in found["units"][0]} == {14}
    for k, matrix in enumerate(weights):
        expected = matrix[found["units"][k + 1]][:, found["units"][k]].detach().numpy()
        np.testing.assert_allclose(decoded(found["weights"][k]), expected, atol=found["weights"][k]["scale"] / 120)
    np.testing.assert_allclose(
        decoded(found["patterns"][5]),
        weights[0][5].view(28, 28).detach().numpy(),
        atol=found["patterns"][5]["scale"] / 120,
    )


def test_only_nets_without_supervision_reconstruct_and_dream(site):
    found = {name: site.get(f"/api/checkpoint?checkpoint={name}")[1] for name in ("rbm-mnist", "dbn-mnist")}
    assert found["rbm-mnist"]["dreams"]
    assert not found["dbn-mnist"]["dreams"]
    _, answer = site.post("/api/drawing", "dbn-mnist", DRAWING)
    assert "reconstruction" not in answer
    assert site.post("/api/dream", "dbn-mnist", {})[1]["error"] == "this net is not generative"


def test_an_autoencoder_gives_its_code_and_decodes_a_changed_one(site):
    name = "deep_autoencoder-mnist"
    _, answer = site.post("/api/drawing", name, DRAWING)
    _, x = net_input(name)
    net = zoo.load(name)
    code = net.encode(x)
    assert answer["code"] == pytest.approx(code[0].tolist(), abs=1e-4)
    assert np.abs(pixels(answer["reconstruction"])[..., 0] - 255 * net.reconstruct(x)[0, 0].detach().numpy()).max() < 1
    changed = [-value for value in answer["code"]]
    _, answer = site.post("/api/code", name, {"code": changed})
    expected = 255 * net.decode(torch.tensor([changed]))[0].detach().numpy().reshape(28, 28)
    assert np.abs(pixels(answer["image"])[..., 0] - expected).max() < 1
    assert site.post("/api/code", name, {"code": [0.0] * 3})[0] == 400
    assert site.post("/api/code", "lenet5-mnist", {"code": [0.0]})[1]["error"] == "this net has no decoder"


def test_a_dream_begins_at_the_drawing_and_continues(site):
    torch.manual_seed(0)
    _, first = site.post("/api/dream", "rbm-mnist", DRAWING | {"frames": 3})
    raw, _ = net_input("rbm-mnist")
    start = raw[0].numpy().astype(float).ravel()
    images = [pixels(chain[0]).astype(float).ravel() for chain in first["images"]]
    assert np.corrcoef(images[0], start)[0, 1] > 0.8
    _, second = site.post("/api/dream", "rbm-mnist", {"frames": 1, "state": first["state"]})
    assert np.corrcoef(pixels(second["images"][0][0]).ravel(), images[-1])[0, 1] > 0.7
    assert first["classes"] == []


def test_samples_of_a_class_are_of_that_class(site):
    torch.manual_seed(0)
    body = {"frames": 1, "steps": 200, "chains": 10, "label": 4}
    _, answer = site.post("/api/dream", "dbn_generative-mnist", body)
    assert answer["classes"] == [[4] * 10]
    x = torch.from_numpy(np.stack([pixels(image)[..., 0] for image in answer["images"][0]]))[:, None]
    predicted = zoo.load("lenet5-mnist")(zoo.info("lenet5-mnist").transforms()(x)).argmax(dim=1)
    assert int((predicted == 4).sum()) >= 8


def test_a_photograph_is_classified_as_zoo_predict_does(site):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    status, answer = site.post("/api/picture", site.photo, png(picture))
    assert status == 200
    about = zoo.info(site.photo)
    x = about.transforms()(picture)[None]
    p = zoo.load(site.photo)(x).softmax(dim=1)[0]
    # Of many classes the ten most likely ones, the best first.
    best = p.topk(10)
    assert [row["class"] for row in answer["probabilities"]] == best.indices.tolist()
    assert [row["p"] for row in answer["probabilities"]] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert pixels(answer["seen"]).shape == (32, 32, 3)
    assert answer["heat"]["shape"] == [32, 32]


def test_a_net_of_whitened_images_is_shown_whitened():
    torch.manual_seed(0)
    net = ConvRBM(in_shape=(1, 20, 20), hidden=4, kernel_size=5, visible_units="gaussian", init_std=0.1).eval()
    preprocess = Preprocess((1, 20, 20), whitening="1/f")
    about = CheckpointInfo("conv_rbm", {}, {}, preprocess.to_dict())
    exhibit = Exhibit(net, about, preprocess, torch.softmax, models_inputs=True, device=torch.device("cpu"))
    raw = torch.randint(256, (1, 20, 20), dtype=torch.uint8)
    answer = answers.answer(exhibit, raw)
    x = preprocess(raw[None])
    with torch.no_grad():
        expected = {"seen": x, "reconstruction": net.reconstruct(x)}
    for name, values in expected.items():
        # 0 is gray, 3 standard deviations are white; without whitening, all values below 0 would be black.
        levels = values[0, 0].numpy()
        bytes_of = (127.5 + levels / (np.sqrt((levels**2).mean()) + 1e-3) * 127.5 / 3).round().clip(0, 255)
        np.testing.assert_allclose(pixels(answer[name])[..., 0], bytes_of, atol=1)


@pytest.mark.parametrize("dark_ink", [True, False])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_picture_of_a_digit_on_paper_is_read(site, form, dark_ink):
    lines = [Stroke(list(zip(s["points"][::2], s["points"][1::2], strict=True)), 0.05) for s in as_json(7, scale=0.5)]
    ink = rasterize(lines, 400) / 255
    noise = np.random.default_rng(0).normal(0, 6, ink.shape)
    paper, pen = (215, 60) if dark_ink else (30, 230)
    picture = Image.fromarray((paper + (pen - paper) * ink + noise).clip(0, 255).astype(np.uint8))
    _, answer = site.post("/api/picture", "lenet5-mnist", png(picture, form))
    assert answer["best"] == 7


# What is refused


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1]"])
def test_a_foreign_host_is_refused_so_that_dns_rebinding_fails(site, host):
    for path in ("/", "/api/checkpoints", "/page/main.js"):
        status, answer = site.get(path, Host=host)
        assert status == 403
        assert answer == {"error": "only requests to 127.0.0.1 and localhost are answered"}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:PORT", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused(site, origin):
    headers = {"Origin": origin.replace("PORT", str(site.port))}
    status, answer = site.post("/api/drawing", "lenet5-mnist", DRAWING, **headers)
    assert (status, answer) == (403, {"error": "requests of other pages are refused"})
    assert "access-control-allow-origin" not in site.headers


def test_the_page_itself_is_answered_by_either_name(site):
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{site.port}"
        assert site.post("/api/drawing", "lenet5-mnist", DRAWING, Host=host, Origin=f"http://{host}")[0] == 200


def test_the_server_listens_on_loopback_only(site):
    # On Linux, 127.0.0.2 is this machine, too; a server that listened on all addresses would answer.
    with pytest.raises((ConnectionError, TimeoutError)), socket.create_connection(("127.0.0.2", site.port), timeout=2):
        pass


def test_large_bodies_are_refused_whether_or_not_they_say_so(site):
    large = b" " * (2 * 2**20 + 1)
    status, answer = site.post("/api/drawing", "lenet5-mnist", large)
    assert (status, answer["error"]) == (413, "the request is too large; at most 2 MiB are accepted")
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    chunks = iter([b"x" * 2**20] * 22)
    try:
        connection.request("POST", f"/api/picture?checkpoint={site.photo}", chunks, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server stopped reading
    finally:
        connection.close()
    assert site.get("/")[0] == 200


BODIES = {
    "not JSON": (b"{", "the request is not JSON"),
    "deep": (b"[" * 10**6, "the request is not JSON"),
    "no object": (b"[]", "the request is not a JSON object"),
    "empty": ({"strokes": []}, "the drawing is empty"),
    "no list": ({"strokes": 3}, "strokes: must be a list"),
    "odd": ({"strokes": [{"points": [0.1], "width": 0.1}]}, "points: must be pairs of x and y"),
    "far": ({"strokes": [{"points": [0.1, 7], "width": 0.1}]}, "points: must be a number from -1 to 2"),
    "NaN": (b'{"strokes": [{"points": [NaN, 0], "width": 0.1}]}', "points: must be a number from -1 to 2"),
    "text": ({"strokes": [{"points": ["a", 0], "width": 0.1}]}, "points: must be a number from -1 to 2"),
    "wide": ({"strokes": [{"points": [0, 0], "width": 9}]}, "width: must be a number from 0.001 to 0.5"),
    "many": ({"strokes": [{}] * 501}, "strokes: 501 values, at most 500 are accepted"),
    "long": ({"strokes": [{"points": [0.5] * 40_002, "width": 0.1}]}, "points: 40,002 values, at most 40,000"),
    "framing": (DRAWING | {"framing": "x"}, "framing: must be one of mnist, digits, fashion_mnist, none"),
    "target": (DRAWING | {"target": 10}, "target=10: this net has 10 classes"),
    "negative": (DRAWING | {"target": -1}, "target: must be a whole number from 0"),
}


@pytest.mark.parametrize("case", BODIES.values(), ids=BODIES)
def test_a_bad_drawing_gets_one_line(case, site):
    body, says = case
    status, answer = site.post("/api/drawing", "lenet5-mnist", body)
    assert status == 400
    assert says in answer["error"]
    assert "\n" not in answer["error"]


DREAMS = {
    "steps": ({"frames": 100, "steps": 1000}, "at most 2,000 Gibbs steps and 20 chains at a time"),
    "chains": ({"chains": 21}, "at most 2,000 Gibbs steps and 20 chains at a time"),
    "label": ({"label": 1}, "label=1: this net has no label unit for it"),
    "state": ({"state": "???"}, "state: damaged; start the chain again"),
    "length": ({"state": base64.b64encode(b"1234").decode()}, "state: of another net or number of chains"),
    "inf": (
        {"state": base64.b64encode(np.full(784, np.inf, np.float32).tobytes()).decode()},
        "state: of another net",
    ),
    "type": ({"state": 3}, "state: must be a string"),
}


@pytest.mark.parametrize("case", DREAMS.values(), ids=DREAMS)
def test_a_bad_dream_gets_one_line(case, site):
    body, says = case
    status, answer = site.post("/api/dream", "rbm-mnist", body)
    assert status == 400
    assert says in answer["error"]


def test_nothing_that_is_uploaded_is_unpickled_or_written(site, tmp_path):
    uploads = {
        "": "the file is empty",
        "pickle": "not a picture that can be read",
        "text": "not a picture that can be read",
        "eps": "not a picture that can be read",
        "cut off": "the picture is damaged or cut off",
        "blank": "nothing stands out from the background",
        "huge": "at most 50,000,000 are accepted",
    }
    gray = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    huge = Image.new("1", (10_000, 5_001))
    contents = {
        "": b"",
        "pickle": pickle.dumps(Touch(tmp_path / "touched")),
        "text": b"hello",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "cut off": png(gray)[:-300],
        "blank": png(Image.new("L", (30, 30), 200)),
        "huge": png(huge),
    }
    for name, says in uploads.items():
        status, answer = site.post("/api/picture", "lenet5-mnist", contents[name])
        assert (name, status) == (name, 400)
        assert says in answer["error"]
    assert not list(tmp_path.iterdir())


def test_unknown_paths_and_keys(site):
    assert site.get("/page/../app.py")[0] == 404
    assert site.get("/page/%2e%2e/app.py")[0] == 404
    assert site.get("/api/checkpoint?checkpoint=../../x.safetensors")[1]["error"].startswith("no checkpoint")
    assert site.get("/api/drawing?checkpoint=lenet5-mnist")[0] == 405


def test_an_internal_error_is_named_and_the_server_goes_on(site, monkeypatch, capfd):
    monkeypatch.setattr("zoo.demo.answers.answer", lambda *args, **options: 1 / 0)
    status, answer = site.post("/api/drawing", "lenet5-mnist", DRAWING)
    assert (status, answer) == (500, {"error": "internal error: ZeroDivisionError: division by zero"})
    assert capfd.readouterr().err == "zoo demo: internal error: ZeroDivisionError: division by zero\n"
    monkeypatch.undo()
    assert json.dumps(site.post("/api/drawing", "lenet5-mnist", DRAWING)[1]["best"]) == "3"
