"""timm's nets cut into layers and head compute what timm's own do, to the last bit; their weights are found by name."""

import hashlib
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from zoo.analysis.gradcam import gradcam
from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import hub
from zoo.checkpoints.pretrained import load
from zoo.models import TimmNet
from zoo.tasks.freezing import layer_groups

# One net of each of twenty families: name, and side of a small image.
FAMILIES = {
    "test_vit": 32,
    "mobilenetv4_conv_small": 64,
    "convnext_atto": 64,
    "vit_tiny_patch16_224": 64,
    "efficientnet_lite0": 64,
    "regnety_002": 64,
    "ghostnet_050": 64,
    "mobilevit_xxs": 64,
    "edgenext_xx_small": 64,
    "lcnet_050": 64,
    "eva02_tiny_patch14_224": 56,
    "pvt_v2_b0": 64,
    "starnet_s1": 64,
    "xcit_nano_12_p16_224": 64,
    "efficientvit_b0": 64,
    "fastvit_t8": 64,
    "pit_ti_224": 64,
    "rexnet_100": 64,
    "resnet18": 64,
    "swin_tiny_patch4_window7_224": 64,
    "mixer_s32_224": 64,
    "nf_regnet_b0": 64,
}
QUICK = ("test_vit",)
each_family = pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def pair(architecture: str, side: int, classes: int = 5) -> tuple[TimmNet, nn.Module]:
    """The zoo's net, and timm's own with the same seed."""
    torch.manual_seed(0)
    here = TimmNet(architecture=architecture, in_shape=(3, side, side), num_classes=classes)
    torch.manual_seed(0)
    there = timm.create_model(architecture, num_classes=classes, **here._options)
    return here.eval(), there.eval()


def small(classes: int = 3, side: int = 32, **options) -> TimmNet:
    return TimmNet(architecture="test_vit", in_shape=(3, side, side), num_classes=classes, **options).eval()


@each_family
def test_a_family_is_timms_own_and_every_job_of_the_zoo_works(architecture, tmp_path):
    side = FAMILIES[architecture]
    here, there = pair(architecture, side)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features, logits = here.encode(x), here(x)
        assert torch.equal(logits, there(x))
        assert torch.equal(features, there.forward_head(there.forward_features(x), pre_logits=True))
        assert torch.equal(here.forward_head(features), logits)
    assert features.shape == (2, here.num_features)

    # Every tensor has timm's name, so timm's net takes the weights back.
    there.load_state_dict(here.original_state_dict())
    assert here.original_names["head.weight"] == timm.models.get_pretrained_cfg(architecture).classifier + ".weight"

    # Every parameter is in exactly one group, and the groups go from the head down to the first layer.
    groups = layer_groups(here, policy="gradual")
    found = [p for group in groups for p in group.parameters]
    assert len(found) == len(set(found))
    assert set(found) == set(here.parameters())
    assert len({group.name for group in groups}) == len(groups) >= 5
    first = there.get_parameter(next(name for name, value in there.named_parameters() if value.dim() == 4))
    lowest = [name for name, value in here.named_parameters() if torch.equal(value, first)]
    assert any(here.get_parameter(name) is p for name in lowest for p in groups[-1].parameters)
    for group in groups[1:]:
        inside = {p for module in group.modules for p in module.parameters()}
        assert inside <= set(group.parameters), "what is held in evaluation mode is what does not move"

    # A checkpoint describes the net, and rebuilds it without timm's weights.
    node = {"_target_": "zoo.models.TimmNet", "architecture": architecture, "in_shape": [3, side, side]}
    info = checkpoints.CheckpointInfo(
        name="timm",
        net={**node, "num_classes": 5},
        task={"_target_": "zoo.tasks.Classification"},
        preprocess={},
        classes=list("abcde"),
    )
    checkpoints.save(here, tmp_path / "net.safetensors", info)
    with torch.no_grad():
        assert torch.equal(checkpoints.load(tmp_path / "net.safetensors")(x), logits)

    # Some regions of an image count more than others.
    heat, _ = gradcam(here, x.repeat(1, 1, 2, 2)[..., :side, :side])
    assert heat.shape == (2, side, side)
    assert ((heat >= 0) & (heat <= 1)).all()


def test_the_tokens_of_the_last_block_are_explained_as_a_grid():
    """Tokens after the class token was read do not count: Grad-CAM by hand on the input of the last attention."""
    net, x = small(), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    heat, classes = gradcam(net, x)
    seen: list[torch.Tensor] = []
    norm = net.layers.body.blocks[-1].norm1
    hook = norm.register_forward_hook(lambda _, __, out: seen.append(out))
    logits = net(x)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), seen)
    tokens, gradient = seen[0][:, 1:].detach(), gradient[:, 1:]  # N x 4 x C: a grid of 2x2 cells of 16 pixels
    cells = (tokens * gradient.mean(dim=1, keepdim=True)).sum(dim=2).relu().view(2, 1, 2, 2)
    expected = nn.functional.interpolate(cells, size=(32, 32), mode="bilinear", align_corners=False)[:, 0]
    peak = expected.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(heat, torch.where(peak > 0, expected / peak, 0), atol=1e-4, rtol=1e-4)


def test_channels_last_maps_and_other_outputs_are_told_apart():
    net = TimmNet(architecture="test_vit", in_shape=(3, 32, 64), num_classes=2)
    width = net.num_features
    assert net.as_maps(torch.zeros(2, 4, 3, width)).shape == (2, width, 4, 3)
    assert net.as_maps(torch.zeros(2, width, 4, 3)).shape == (2, width, 4, 3)
    tokens = torch.arange(9.0)[None, :, None].expand(2, 9, width)  # a class token, then 2x4 cells
    assert net.as_maps(tokens)[0, 0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    for other in (torch.zeros(2, width), torch.zeros(2, 8, width), torch.zeros(2, 9, width + 1)):
        assert net.as_maps(other) is None


def test_gray_images_repeated_or_kernels_summed_compute_the_same():
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    options = {"architecture": "mobilenetv4_conv_small", "in_shape": (1, 64, 64), "num_classes": 3}
    nets = []
    for gray in ("repeat", "sum"):
        torch.manual_seed(0)
        nets.append(TimmNet(**options, gray=gray).eval())
    assert nets[1].layers.body.conv_stem.weight.shape[1] == 1
    with torch.no_grad():
        torch.testing.assert_close(nets[0].layers(x.expand(-1, 3, -1, -1)), nets[1].layers(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "vit_tiny"}, "timm has no net of this name; similar names: vit_tiny_"),
        ({"architecture": "resnet18.a1_in1k"}, "model.net.architecture=resnet18 weights=a1_in1k"),
        ({"architecture": "hf-hub:timm/resnet18"}, "timm has no net of this name"),
        ({"architecture": "local-dir:/tmp"}, "timm has no net of this name"),
        ({"architecture": "deit_tiny_distilled_patch16_224"}, "its classifier is not a single linear layer"),
        ({"architecture": "dla46_c"}, "its classifier is not a single linear layer"),
        ({"in_shape": (3, 20, 20)}, "test_vit cannot take images of 3x20x20"),
        ({"in_shape": (4, 32, 32)}, "1 or 3 channels"),
        ({"in_shape": (3, 2048, 2048)}, "too large for test_vit"),
        ({"drop_rate": 1.0}, "drop_rate=1.0 must be in"),
        ({"drop_path_rate": -0.1}, "drop_path_rate=-0.1 must be in"),
        ({"architecture": "vgg11", "in_shape": (3, 64, 64), "drop_path_rate": 0.1}, "vgg11 of timm: .*drop_path_rate"),
        ({"architecture": "test_nfnet", "in_shape": (1, 64, 64), "gray": "sum"}, "use gray=repeat"),
    ],
)
def test_what_cannot_be_built_is_one_line(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        TimmNet(**{"architecture": "test_vit", "in_shape": (3, 32, 32), "num_classes": 2, **options})
    assert "\n" not in str(caught.value)


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"need timm: pip install 'reference-zoo\[timm\]'"):
        small()


# Weights


@pytest.fixture
def planted(tmp_path, monkeypatch) -> tuple[nn.Module, Path]:
    """timm's weights of 1000 classes in the hub's cache, and nothing on the net: timm's net, and the file."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = timm.models.get_pretrained_cfg("test_vit")
    repository = tmp_path / f"models--{config.hf_hub_id.replace('/', '--')}"
    for folder in ("refs", "blobs", f"snapshots/{COMMIT}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)

    # As the hub stores it: a link to a file that is named by its SHA-256.
    torch.manual_seed(3)
    net = timm.create_model("test_vit", num_classes=1000, img_size=160).eval()
    save_file(net.state_dict(), tmp_path / "x")
    blob = repository / "blobs" / hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()
    (tmp_path / "x").rename(blob)
    link = repository / "snapshots" / COMMIT / hub.WEIGHTS
    link.symlink_to(blob)
    return net, link


@pytest.mark.parametrize("name", ["DEFAULT", "tag"])
def test_weights_are_found_by_timms_name_with_their_preprocessing(name, planted):
    there, _ = planted
    config = timm.models.get_pretrained_cfg("test_vit")
    net = small(side=160)
    found = load(net, config.tag if name == "tag" else name)
    assert found.source == f"hf://{config.hf_hub_id}@{COMMIT}"
    assert (found.preprocess.mean, found.preprocess.std) == (tuple(config.mean), tuple(config.std))
    assert found.preprocess.interpolation == config.interpolation
    assert found.size == tuple(config.input_size[1:])
    x = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(net.encode(x), there.forward_head(there.forward_features(x), pre_logits=True))
    assert net.head.out_features == 3
    kept = small(1000, side=160)
    load(kept, "DEFAULT", head="keep")
    with torch.no_grad():
        assert torch.equal(kept(x), there(x))


def test_position_embeddings_are_resized_as_timm_does(planted):
    there, file = planted
    net = small(side=64)
    before = torch.get_rng_state()
    load(net, str(file))
    assert torch.equal(torch.get_rng_state(), before)
    expected = timm.layers.resample_abs_pos_embed(there.pos_embed, new_size=(4, 4), num_prefix_tokens=1)
    torch.testing.assert_close(net.layers.body.pos_embed, expected)
    assert torch.equal(net.layers.body.blocks[0].attn.qkv.weight, there.blocks[0].attn.qkv.weight)


def test_weights_that_are_missing_damaged_or_of_another_net_are_one_line_and_change_nothing(planted, tmp_path):
    _, file = planted
    net = small()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"weights=IMAGENET1K_V1: .*expected DEFAULT, ") as caught:
        load(net, "IMAGENET1K_V1")
    assert "\n" not in str(caught.value)
    other = TimmNet(architecture="test_resnet", in_shape=(3, 64, 64), num_classes=2)
    with pytest.raises(FileNotFoundError, match="weights=DEFAULT cannot be fetched"):
        load(other, "DEFAULT")
    with pytest.raises(ValueError, match="does not fit test_resnet: "):
        load(other, str(file))
    blob = file.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="is damaged"):
        load(net, "DEFAULT")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
