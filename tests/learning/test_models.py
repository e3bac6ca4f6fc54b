"""Networks by name, weights from files, and the texture network's invariances."""

from __future__ import annotations

import cv2
import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.models import networks as models
from ncm_kedro.learning.models.networks import build_model, read_packaged_weights
from ncm_kedro.learning.models.pooled import TextureNet, pool_statistics
from ncm_kedro.learning.training.fitting import build_network_for, choose_start
from ncm_kedro.params.tune_train import TrainParams

TINY = "test_resnet"


def _state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone().contiguous() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", [TINY, "test_efficientnet.r160_in1k", "ncm_texture_net"])
def test_build_model_takes_grey_images(name: str) -> None:
    model = build_model(name, num_classes=5, drop_rate=0.3).eval()
    assert model(torch.zeros(2, 1, 75, 101)).shape == (2, 5)
    assert (model.drop.p if isinstance(model, TextureNet) else model.drop_rate) == 0.3


def test_unknown_name_lists_near_names() -> None:
    with pytest.raises(ModelError, match=r"resnet18.*timm\.list_models"):
        build_model("resnet18x", num_classes=3)


@pytest.fixture
def no_hub(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(models.hub_constants, "ENDPOINT", "http://127.0.0.1:9")  # a closed port
    monkeypatch.setattr(models.hub_constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.parametrize("name", [TINY, "ncm_texture_net"])
def test_pretrained_without_hub_names_the_ways_out(name: str, no_hub: None) -> None:
    with pytest.raises(ModelError, match=r"packaged.*`pretrained: false`.*`checkpoint_path`"):
        build_model(name, num_classes=3, pretrained=True)
    assert models.hub_constants.HF_HUB_OFFLINE is False


def test_packaged_weights_know_a_cup_of_espresso() -> None:
    """Class 967 of ImageNet; whether the tensors stand in their places shows in what is seen."""
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(read_packaged_weights("tf_efficientnet_lite0"), strict=False)
    colour = cv2.resize(data.coffee()[:, 100:500], (224, 224), interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(colour).permute(2, 0, 1)[None]
    assert network.eval()((image - 127.0) / 128.0).softmax(1)[0, 967] > 0.5


def test_packaged_weights_give_the_pooled_network_its_features() -> None:
    """It is the backbone, read after its third stage among others, with each image's mean off."""
    image = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    pooled = build_model("ncm_pooled_lite0", num_classes=3, pretrained="packaged").eval()
    whole = build_model("tf_efficientnet_lite0", num_classes=3, pretrained="packaged").eval()
    seen = []
    whole.blocks[2].register_forward_hook(lambda _, __, output: seen.append(output))
    centred = 2 * (image - image.mean((2, 3), keepdim=True))
    with torch.inference_mode():
        whole(centred)
        mean, log_std = pooled.forward_features(image + 0.2)[:, -2 * 40 :].chunk(2, dim=1)
    expected_mean, expected_std = pool_statistics(seen[0]).chunk(2, dim=1)
    torch.testing.assert_close(mean, expected_mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_std.exp(), expected_std, atol=1e-4, rtol=1e-4)


def test_packaged_weights_that_there_are_not() -> None:
    with pytest.raises(ModelError, match="tf_efficientnet_lite0"):
        build_model(TINY, num_classes=3, pretrained="packaged")


def test_without_hub_and_gpu_packaged_weights_take_over_and_say_so(
    no_hub: None, caplog: pytest.LogCaptureFixture
) -> None:
    params = TrainParams(model="test_efficientnet", device="cpu")
    chosen = choose_start(params)
    assert (chosen.pretrained, chosen.last_layer) == ("packaged", "discriminant")
    assert "test_efficientnet" in caplog.text
    assert build_network_for(chosen, 3).eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 3)
    own = params.model_copy(update={"pretrained": False})
    assert choose_start(own) == own


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_colour_checkpoint_folds_stem_and_drops_head(tmp_path, suffix: str) -> None:
    colour = timm.create_model(TINY, num_classes=7, in_chans=3).eval()
    path = tmp_path / f"weights{suffix}"
    save_file(_state(colour), path) if suffix == ".safetensors" else torch.save(
        _state(colour), path
    )
    grey = build_model(TINY, num_classes=4, checkpoint_path=path).eval()
    image = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(
        grey.forward_features(image), colour.forward_features(image.expand(-1, 3, -1, -1))
    )
    assert grey(image).shape == (2, 4)


# Layers of a block as `efficientnet_pytorch` names them, in the order in which they run.
_BLOCK = (
    *("_expand_conv", "_bn0", "_depthwise_conv", "_bn1"),
    *("_se_reduce", "_se_expand", "_project_conv", "_bn2"),
)


def _name_as_efficientnet_pytorch(model: timm.models.EfficientNet) -> dict[str, torch.Tensor]:
    """Its tensors as an encoder without a last layer has them."""
    modules = {"_conv_stem": model.conv_stem, "_bn0": model.bn1}
    for number, block in enumerate(block for stage in model.blocks for block in stage):
        leaves = [part for part in block.modules() if list(part.parameters(recurse=False))]
        names = _BLOCK[len(_BLOCK) - len(leaves) :]
        modules |= {f"_blocks.{number}.{n}": leaf for n, leaf in zip(names, leaves, strict=True)}
    modules |= {"_conv_head": model.conv_head, "_bn1": model.bn2}
    return {
        f"{layer}.{name}": value.clone()
        for layer, module in modules.items()
        for name, value in module.state_dict().items()
    }


def test_weights_of_micrographs_come_under_other_names(tmp_path) -> None:
    """NASA's encoders have the names of `efficientnet_pytorch`; a file may sort them."""
    source = timm.create_model("tf_efficientnet_b0", num_classes=7).eval()
    with torch.no_grad():
        for value in source.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.rand_like(value))
    renamed = _name_as_efficientnet_pytorch(source)
    image, path = torch.rand(1, 1, 64, 64), tmp_path / "micronet.pth"
    for prefix in ("", "encoder."):
        torch.save({prefix + name: renamed[name] for name in sorted(renamed)}, path)
        grey = build_model("tf_efficientnet_b0", num_classes=4, checkpoint_path=path).eval()
        torch.testing.assert_close(
            grey.forward_features(image), source.forward_features(image.expand(-1, 3, -1, -1))
        )
    with pytest.raises(ModelError, match="do not fit"):
        build_model("tf_efficientnet_b1", num_classes=4, checkpoint_path=path)


@pytest.mark.parametrize("name", [TINY, "ncm_texture_net"])
def test_checkpoint_with_same_classes_is_loaded_whole(tmp_path, name: str) -> None:
    source = build_model(name, num_classes=4).eval()
    torch.save(_state(source), tmp_path / "own.pth")
    copy = build_model(name, num_classes=4, checkpoint_path=tmp_path / "own.pth").eval()
    image = torch.rand(2, 1, 64, 64)
    assert torch.equal(copy(image), source(image))


def test_texture_net_checkpoint_with_other_classes_keeps_features(tmp_path) -> None:
    source = build_model("ncm_texture_net", num_classes=4).eval()
    torch.save(_state(source), tmp_path / "own.pth")
    model = build_model("ncm_texture_net", num_classes=9, checkpoint_path=tmp_path / "own.pth")
    image = torch.rand(2, 1, 64, 64)
    assert torch.equal(model.eval().forward_features(image), source.forward_features(image))
    assert model(image).shape == (2, 9)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"not weights at all"])
def test_missing_or_unreadable_checkpoint(tmp_path, suffix: str, content: bytes | None) -> None:
    path = tmp_path / f"bad{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=path.name):
        build_model(TINY, num_classes=4, checkpoint_path=path)


@pytest.mark.parametrize("num_classes", [4, 7])
def test_checkpoint_of_another_architecture(tmp_path, num_classes: int) -> None:
    path = tmp_path / "other.pth"
    torch.save(_state(build_model("ncm_texture_net", num_classes=4)), path)
    with pytest.raises(ModelError, match="do not fit"):
        build_model(TINY, num_classes=num_classes, checkpoint_path=path)


def test_statistics_of_known_feature() -> None:
    feature = torch.tensor([1.0, 3.0, 1.0, 3.0]).reshape(1, 1, 2, 2)
    mean, std = pool_statistics(torch.cat([feature, torch.zeros(1, 1, 2, 2)], dim=1))[0].split(2)
    torch.testing.assert_close(mean, torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(std, torch.tensor([1.0, 0.0]), atol=0.011, rtol=0)


def test_statistics_ignore_where_things_lie() -> None:
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(3, 8, 6, 5, generator=generator)
    order = torch.randperm(30, generator=generator)
    shuffled = feature.flatten(2)[:, :, order].reshape(feature.shape)
    torch.testing.assert_close(pool_statistics(shuffled), pool_statistics(feature))


def test_statistics_are_not_rounded_to_bfloat16() -> None:
    feature = 100.0 + torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    rounded = feature.bfloat16()
    expected = rounded.double().flatten(2).std(dim=2, correction=0).float()
    torch.testing.assert_close(pool_statistics(rounded)[:, 4:], expected, atol=1e-3, rtol=1e-3)


def test_texture_net_in_bfloat16_agrees() -> None:
    torch.manual_seed(0)
    model = build_model("ncm_texture_net", num_classes=5).eval()
    image = torch.rand(2, 1, 96, 96)
    with torch.inference_mode():
        exact = model(image)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(image)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0.1)


def test_texture_net_learns_two_textures() -> None:
    """Fine against coarse noise of equal mean and spread."""
    torch.manual_seed(1)
    model = TextureNet(num_classes=2, widths=(8, 16), depths=(1, 1), pooled_stages=2)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    labels = torch.arange(16) % 2
    for _ in range(12):
        fine = torch.randn(8, 1, 32, 32)
        coarse = torch.randn(8, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
        images = torch.stack([fine, coarse], dim=1).flatten(0, 1)
        logits = model(images)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (logits.argmax(dim=1) == labels).all()
