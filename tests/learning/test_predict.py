from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.data.loader import CropLoader
from ncm_kedro.learning.evaluation.calibration import apply_temperature
from ncm_kedro.learning.models.networks import build_model
from ncm_kedro.learning.models.predict import iterate_dihedral, predict_outputs

OPTIONS = {"device": "cpu", "precision": "float32"}


class Probe(nn.Module):
    """Logits that are twice the mean grey and twice the grey of one corner."""

    def __init__(self, last_layer: str | tuple[str, ...] | None = "last") -> None:
        super().__init__()
        self.pretrained_cfg = {"classifier": last_layer}
        self.last = nn.Linear(2, 2, bias=False)
        self.last.weight.data = 2.0 * torch.eye(2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.stack([images.mean(dim=(1, 2, 3)), images[:, 0, 0, 0]], dim=1))


def make_loader(batch_size: int = 4, shuffle: bool = False) -> CropLoader:
    rng = np.random.default_rng(0)
    bank = build_frame_bank({"f": rng.integers(0, 256, (40, 60), dtype=np.uint8)})
    count = 10
    crops = CropIndex(
        frame=np.zeros(count, np.int64),
        x_px=rng.integers(0, 40, count),
        y_px=rng.integers(0, 20, count),
        size_px=np.full(count, 20),
        label=np.arange(count),
    )
    return CropLoader(bank, crops, batch_size=batch_size, input_px=20, shuffle=shuffle)


def test_rows_follow_the_crop_index_whatever_the_order_of_batches():
    straight = predict_outputs(Probe(), make_loader(), **OPTIONS)
    shuffled = predict_outputs(Probe(), make_loader(3, shuffle=True), **OPTIONS)
    for name in ("logits", "energy", "features"):
        np.testing.assert_allclose(
            getattr(straight, name), getattr(shuffled, name), rtol=1e-6, atol=1e-6
        )
    assert straight.labels.tolist() == shuffled.labels.tolist() == list(range(10))


@pytest.mark.parametrize("last_layer", ["last", ("last", "other")])
def test_features_are_what_the_last_layer_sees_and_energy_follows_its_formula(last_layer):
    outputs = predict_outputs(Probe(last_layer), make_loader(), **OPTIONS)
    np.testing.assert_allclose(outputs.features * 2.0, outputs.logits, rtol=1e-6)
    expected = -np.log(np.exp(outputs.logits.astype(np.float64)).sum(axis=1))
    np.testing.assert_allclose(outputs.energy, expected, rtol=1e-5)


def test_energy_and_features_are_means_over_views():
    outputs = predict_outputs(Probe(), make_loader(), test_time_augmentation="dihedral", **OPTIONS)
    images = torch.cat([batch.images for batch in make_loader().iterate_epoch(0)])
    views = torch.stack([Probe()(view) for view in iterate_dihedral(images)]).detach()
    np.testing.assert_allclose(outputs.energy, -views.logsumexp(2).mean(0), rtol=1e-5)
    np.testing.assert_allclose(outputs.features * 2.0, views.mean(0), rtol=1e-5)


@pytest.mark.parametrize("name", ["ncm_texture_net", "test_efficientnet", "test_vit"])
def test_features_of_real_networks_give_their_logits(name):
    network = build_model(name, num_classes=3)
    loader = make_loader()
    loader.input_px = 160 if name == "test_vit" else 32
    outputs = predict_outputs(network, loader, **OPTIONS)
    weights = dict(network.named_modules())[network.pretrained_cfg["classifier"]]
    again = weights(torch.from_numpy(outputs.features)).detach().numpy()
    np.testing.assert_allclose(again, outputs.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("last_layer", [None, "nowhere"])
def test_a_network_whose_last_layer_is_not_named_is_refused(last_layer):
    with pytest.raises(ModelError, match="last layer"):
        predict_outputs(Probe(last_layer), make_loader(), **OPTIONS)


def test_eight_views_are_all_different_and_complete():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    views = {tuple(view.flatten().tolist()) for view in iterate_dihedral(image)}
    expected = {tuple(np.rot90(m, k).ravel()) for m in (image[0, 0].numpy(),
                image[0, 0].numpy().T) for k in range(4)}  # fmt: skip
    assert views == expected
    assert len(views) == 8


def test_dihedral_average_is_invariant_and_a_mean_of_probabilities():
    outputs = predict_outputs(Probe(), make_loader(), test_time_augmentation="dihedral", **OPTIONS)
    averaged = apply_temperature(outputs.logits, 1.0)
    np.testing.assert_allclose(averaged.sum(axis=1), 1.0, rtol=1e-6)
    images = torch.cat([batch.images for batch in make_loader().iterate_epoch(0)])
    by_hand = torch.stack([Probe()(view).softmax(1) for view in iterate_dihedral(images)]).mean(0)
    np.testing.assert_allclose(averaged, by_hand.detach().numpy(), atol=1e-6)


def test_dropout_is_off_and_no_crop_is_an_error():
    model = Probe()
    model.last = nn.Sequential(nn.Dropout(0.9), model.last)
    first = predict_outputs(model.train(), make_loader(), **OPTIONS)
    second = predict_outputs(model.train(), make_loader(), **OPTIONS)
    np.testing.assert_array_equal(first.logits, second.logits)

    class Empty:
        def __len__(self) -> int:
            return 0

        def iterate_epoch(self, epoch: int):
            return iter(())

    with pytest.raises(ModelError, match="no crop"):
        predict_outputs(Probe(), Empty(), **OPTIONS)
