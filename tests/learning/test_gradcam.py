"""Maps of networks with a closed form."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.explain.gradcam import differentiate_guided, explain_crops, find_map_layer
from ncm_kedro.learning.models.networks import build_model
from ncm_kedro.learning.models.pooled import TextureNet

SIDE = 24


class PlainNet(nn.Module):
    """A convolution, an activation, the mean over all positions, a linear layer."""

    def __init__(self, channels=3, classes=2, activation=None, kernel=1):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, kernel, padding=kernel // 2)
        self.act = nn.ReLU(inplace=True) if activation is None else activation
        self.head = nn.Linear(channels, classes)

    def forward(self, image):
        return self.head(self.act(self.conv(image)).mean(dim=(2, 3)))


class SpreadNet(PlainNet):
    """Reads the standard deviation of its channels alone."""

    def forward(self, image):
        return self.head(self.act(self.conv(image)).std(dim=(2, 3), correction=0))


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(5, SIDE, SIDE)).astype(np.float32)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return PlainNet()


def square_image():
    image = np.zeros((1, SIDE, SIDE), np.float32)
    image[0, 6:12, 14:20] = 1.0
    return image


@pytest.mark.parametrize("weighting", ["element", "mean"])
def test_grad_cam_of_a_pooled_network_is_its_weighted_feature_map(images, network, weighting):
    classes = np.array([0, 1, 1, 0, 1])
    maps = explain_crops(network, images, classes, weighting=weighting, device="cpu").grad_cam_nyx
    with torch.no_grad():
        features = functional.relu(network.conv(torch.from_numpy(images[:, None]))).numpy()
    weights = network.head.weight.detach().numpy()[classes]
    expected = np.maximum(np.einsum("nc,ncyx->nyx", weights, features), 0.0) / SIDE**2
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-9)


def test_attention_lies_on_the_planted_square():
    network = PlainNet(channels=1, kernel=3)
    with torch.no_grad():
        network.conv.weight.fill_(1 / 9)
        network.conv.bias.fill_(-0.3)
        network.head.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    maps = explain_crops(network, np.repeat(square_image(), 2, 0), [0, 1], device="cpu")
    on_square = maps.grad_cam_nyx[0, 5:13, 13:21].sum() / maps.grad_cam_nyx[0].sum()
    assert on_square == pytest.approx(1.0)
    assert maps.grad_cam_nyx[1].max() == 0.0  # the square is evidence against the other class
    guided = maps.guided_nyx[0]
    assert np.abs(guided[5:13, 13:21]).sum() == pytest.approx(np.abs(guided).sum())
    assert (guided[7:11, 15:19] > 0).all()


def test_a_network_that_reads_the_spread_has_no_mean_weight(images):
    torch.manual_seed(2)
    network = SpreadNet(channels=1)
    with torch.no_grad():
        network.conv.weight.fill_(1.0)
        network.conv.bias.fill_(0.0)
        network.head.weight.fill_(1.0)
    by_mean, by_element = (
        explain_crops(network, images, [0] * 5, weighting=weighting, device="cpu").grad_cam_nyx
        for weighting in ("mean", "element")
    )
    feature = np.maximum(images, 0.0)
    mean = feature.mean(axis=(1, 2), keepdims=True)
    deviation = feature.std(axis=(1, 2), keepdims=True)
    expected = np.maximum(feature * (feature - mean) / (deviation * SIDE**2), 0.0)
    np.testing.assert_allclose(by_element, expected, rtol=1e-3, atol=1e-8)
    assert by_mean.max() < 1e-5 * by_element.max()


@pytest.mark.parametrize(("activation", "slope"), [
    (nn.ReLU(inplace=True), lambda x: (x > 0).float()),
    (nn.ReLU6(inplace=True), lambda x: (x > 0).float()),
    (nn.SiLU(inplace=True), lambda x: torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))),
])  # fmt: skip
def test_guided_gradients_stop_at_closed_gates(activation, slope):
    """Closed: the activation yields nothing positive, or the gradient that comes back is not."""
    network = PlainNet(channels=2, classes=1, activation=activation).requires_grad_(False)
    network.conv.weight.copy_(torch.tensor([2.0, -3.0]).view(2, 1, 1, 1))
    network.conv.bias.zero_()
    network.head.weight.copy_(torch.tensor([[1.0, -1.0]]))
    image = torch.tensor([[0.5, -0.5], [2.0, 0.0]]).view(1, 1, 2, 2)
    guided = differentiate_guided(network, image, torch.tensor([0]))
    # The second channel has a negative weight in the head: nothing comes back through it.
    expected = 2.0 * slope(2.0 * image) * (image > 0) / 4
    torch.testing.assert_close(guided, expected)
    watched = image.clone().requires_grad_()
    (plain,) = torch.autograd.grad(network(watched * 1.0).sum(), watched)
    assert plain[0, 0, 0, 1] != 0.0


def test_functional_activations_are_gated_like_modules(images):
    torch.manual_seed(3)
    modules = PlainNet()

    class Functional(PlainNet):
        def forward(self, image):
            return self.head(functional.relu(self.conv(image)).mean(dim=(2, 3)))

    calls = Functional()
    calls.load_state_dict(modules.state_dict())
    image, classes = torch.from_numpy(images[:, None]), torch.zeros(5, dtype=torch.int64)
    torch.testing.assert_close(
        differentiate_guided(modules, image, classes), differentiate_guided(calls, image, classes)
    )


@pytest.mark.parametrize(
    "name", ["test_efficientnet", "test_resnet", "ncm_texture_net", "ncm_pooled_lite0"]
)
def test_networks_by_name_are_explained_and_left_alone(name):
    torch.manual_seed(4)
    network = build_model(name, num_classes=3).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = np.random.default_rng(5).normal(size=(5, 64, 64)).astype(np.float32)
    classes = [0, 1, 2, 0, 1]
    whole, split = (
        explain_crops(network, images, classes, device="cpu", batch_size=size) for size in (5, 2)
    )
    np.testing.assert_allclose(whole.grad_cam_nyx, split.grad_cam_nyx, atol=1e-5)
    np.testing.assert_allclose(whole.guided_nyx, split.guided_nyx, atol=1e-5)
    assert whole.grad_cam_nyx.shape == whole.guided_nyx.shape == (5, 64, 64)
    assert whole.grad_cam_nyx.max() > 0
    assert network.training
    assert all(value.requires_grad for value in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_hooks_come_off_even_when_the_network_fails(network):
    def fail(*_):
        raise RuntimeError("simulated")

    network.head.forward = fail
    with pytest.raises(RuntimeError, match="simulated"):
        find_map_layer(network, SIDE)
    assert not any(module._forward_hooks for module in network.modules())


def test_the_layer_is_the_last_that_all_evidence_passes():
    assert find_map_layer(TextureNet(2).eval(), 64) == "stages.1"
    efficient = timm.create_model("test_efficientnet", in_chans=1, num_classes=2).eval()
    layer = find_map_layer(efficient, 64)
    shapes = []
    efficient.get_submodule(layer).register_forward_hook(lambda *a: shapes.append(a[2].shape))
    features = efficient.forward_features(torch.zeros(1, 1, 64, 64))
    assert shapes == [features.shape]


@pytest.mark.parametrize(("name", "size"), [
    ("test_vit", {}),
    ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "embed_dim": 8, "num_heads": (1, 1)}),
])  # fmt: skip
def test_transformers_are_refused(name, size):
    network = timm.create_model(name, in_chans=1, num_classes=2, img_size=224, **size).eval()
    with pytest.raises(ModelError, match="convolutional"):
        find_map_layer(network, 224)


def test_a_network_without_known_activations_is_refused(images):
    with pytest.raises(ModelError, match="activation"):
        explain_crops(PlainNet(activation=nn.Tanh()), images, [0] * 5, device="cpu")
