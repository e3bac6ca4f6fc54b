from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.frame_bank import build_frame_bank
from ncm_kedro.learning.loader import CropIndex, CropLoader
from ncm_kedro.learning.predict import iterate_dihedral, predict_logits, predict_probabilities

OPTIONS = {"device": "cpu", "precision": "float32"}


class Probe(nn.Module):
    """Logits that are the mean grey and the grey of one corner."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.gain * torch.stack([images.mean(dim=(1, 2, 3)), images[:, 0, 0, 0]], dim=1)


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
    straight, labels = predict_logits(Probe(), make_loader(), **OPTIONS)
    shuffled, same = predict_logits(Probe(), make_loader(3, shuffle=True), **OPTIONS)
    np.testing.assert_allclose(straight, shuffled, rtol=1e-6)
    assert labels.tolist() == same.tolist() == list(range(10))


def test_eight_views_are_all_different_and_complete():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    views = {tuple(view.flatten().tolist()) for view in iterate_dihedral(image)}
    expected = {tuple(np.rot90(m, k).ravel()) for m in (image[0, 0].numpy(),
                image[0, 0].numpy().T) for k in range(4)}  # fmt: skip
    assert views == expected
    assert len(views) == 8


def test_dihedral_average_is_invariant_and_a_mean_of_probabilities():
    views = {"test_time_augmentation": "dihedral", **OPTIONS}
    averaged, _ = predict_probabilities(Probe(), make_loader(), **views)
    np.testing.assert_allclose(averaged.sum(axis=1), 1.0, rtol=1e-6)
    images = torch.cat([batch.images for batch in make_loader().iterate_epoch(0)])
    by_hand = torch.stack([Probe()(view).softmax(1) for view in iterate_dihedral(images)]).mean(0)
    np.testing.assert_allclose(averaged, by_hand.detach().numpy(), atol=1e-6)


def test_temperature_softens():
    sharp, _ = predict_probabilities(Probe(), make_loader(), temperature=0.01, **OPTIONS)
    soft, _ = predict_probabilities(Probe(), make_loader(), temperature=100.0, **OPTIONS)
    assert (sharp.max(axis=1) > soft.max(axis=1)).all()
    np.testing.assert_allclose(soft, 0.5, atol=0.01)


def test_dropout_is_off_and_no_crop_is_an_error():
    model = nn.Sequential(Probe(), nn.Dropout(0.9)).train()
    first, _ = predict_logits(model, make_loader(), **OPTIONS)
    second, _ = predict_logits(model, make_loader(), **OPTIONS)
    np.testing.assert_array_equal(first, second)

    class Empty:
        def __len__(self) -> int:
            return 0

        def iterate_epoch(self, epoch: int):
            return iter(())

    with pytest.raises(ModelError, match="no crop"):
        predict_logits(Probe(), Empty(), **OPTIONS)
