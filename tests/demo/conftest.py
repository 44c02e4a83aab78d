"""A running page with nets of every kind, on a free port of loopback."""

import http.client
import json
from functools import partial

import pytest
import torch

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli import demo
from zoo.models import LeNet5

NETS = ("mlp_16_16-mnist", "lenet5-mnist", "rbm-mnist", "dbn_generative-mnist", "deep_autoencoder-mnist", "dbn-mnist")


class Site:
    """A client of the page; every request is sent as given."""

    def __init__(self, port: int, photo: str):
        self.port = port
        self.photo = photo  # key of a net of color images
        self.headers: dict[str, str] = {}  # of the last response

    def request(self, method, path, body=None, **headers):
        """The status and the body, decoded if it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            response = connection.getresponse()
            content = response.read()
            self.headers = {key.lower(): value for key, value in response.getheaders()}
        finally:
            connection.close()
        is_json = self.headers.get("content-type") == "application/json"
        return response.status, json.loads(content) if is_json else content

    def get(self, path, **headers):
        return self.request("GET", path, **headers)

    def post(self, path, checkpoint, body, **headers):
        """Post JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", f"{path}?checkpoint={checkpoint}", content, **headers)


@pytest.fixture(scope="package")
def photo_net(tmp_path_factory):
    """The file of an untrained net of color images of 32 x 32 pixels, with 12 classes."""
    torch.manual_seed(0)
    arguments = {"in_shape": [3, 32, 32], "num_classes": 12}
    about = checkpoints.CheckpointInfo(
        "lenet5",
        {"_target_": "zoo.models.LeNet5", **arguments},
        {"_target_": "zoo.tasks.Classification"},
        {"shape": [3, 32, 32], "scale": 255.0, "mean": [0.5] * 3, "std": [0.25] * 3, "side": 36},
        classes=[f"kind {k}" for k in range(12)],
        dataset="image_folder",
    )
    path = tmp_path_factory.mktemp("photo") / "photo.safetensors"
    checkpoints.save(LeNet5(**arguments), path, about)
    return str(path)


@pytest.fixture(scope="package")
def site(photo_net):
    app = pytest.importorskip("zoo.demo.app")
    server = pytest.importorskip("zoo.demo.server")
    names = (*NETS, photo_net)
    open_exhibit = partial(demo._exhibit, device=torch.device("cpu"))
    collection = demo.Collection({name: checkpoints.info(name) for name in names}, open_exhibit)
    with server.serving(app.make_app(collection), 0) as running:
        yield Site(int(running.address.rstrip("/").rpartition(":")[2]), photo_net)
