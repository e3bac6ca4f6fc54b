"""Fine-tuning that stays near its start: each part by known values, and all of them resumed."""

from __future__ import annotations

from typing import ClassVar

import pytest
import timm
import torch
from pydantic import ValidationError
from test_train import HELD, SMALL, make_loader, make_model, run_fit
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.models.networks import build_model
from ncm_kedro.learning.training.state import (
    build_optimiser,
    copy_start,
    freeze_layers,
    pull_to_start,
)
from ncm_kedro.learning.training.train import fit
from ncm_kedro.params.tune_train import TrainParams

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def find_changed(params: TrainParams) -> set[str]:
    before = {name: value.clone() for name, value in make_model(params).state_dict().items()}
    after = fit(
        make_model(params),
        make_loader(params, train=True),
        make_loader(params, train=False),
        params,
    ).model.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def measure_distance(params: TrainParams) -> float:
    """Largest change of a weight below the last layer."""
    moved = measure_moves(make_model(params), run_fit(params).model)
    return max(value for name, value in moved.items() if not name.startswith("fc."))


def measure_moves(before: nn.Module, after: nn.Module) -> dict[str, float]:
    """Largest change of each tensor of weights."""
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    return {name: float((a - b).detach().abs().max()) for (name, a), b in pairs}


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("test_resnet", ("layer3.", "layer4.", "fc.")),
        ("ncm_texture_net", ("stages.1.", "stages.2.", "norm.", "classifier.")),
        ("ncm_pooled_lite0", ("backbone.blocks.1.", "backbone.blocks.2.", "classifier.")),
        ("tf_efficientnet_lite0", ("blocks.5.", "blocks.6.", "conv_head", "bn2", "classifier.")),
    ],
)
def test_the_last_stages_are_trained_and_nothing_else(name, trained):
    model = build_model(name, num_classes=3)
    freeze_layers(model, HELD.model_copy(update={"model": name}))
    for weight_name, weight in model.named_parameters():
        assert weight.requires_grad == weight_name.startswith(trained), weight_name


def test_training_of_the_last_stages_changes_nothing_else():
    changed = find_changed(HELD.model_copy(update={"epochs": 1}))
    names = {name for name, _ in make_model(HELD).named_parameters()}
    expected = {name for name in names if name.startswith(("layer3.", "layer4.", "fc."))}
    assert changed == expected


@pytest.mark.parametrize(
    ("trainable", "frozen", "moves"),
    [("last_layer", False, False), ("last_stages", False, False), ("all", True, False),
     ("all", False, True)],
)  # fmt: skip
def test_norm_statistics_move_only_where_all_is_trained(trainable, frozen, moves):
    changed = find_changed(
        SMALL.model_copy(update={"trainable": trainable, "frozen_norms": frozen, "epochs": 1})
    )
    assert any(name.endswith(BUFFERS) for name in changed) == moves


def test_dropout_stays_on_where_norms_are_frozen():
    params = SMALL.model_copy(update={"trainable": "last_layer", "epochs": 1})
    losses = {
        rate: run_fit(params.model_copy(update={"drop_rate": rate})).history[0].train_loss
        for rate in (0.0, 0.5)
    }
    assert losses[0.0] != losses[0.5]


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("ncm_pooled_lite0", ["classifier.", "backbone.blocks.2.1.", "backbone.blocks.2.0.",
                              "backbone.blocks.1.1.", "backbone.blocks.1.0.",
                              "backbone.blocks.0.0.", "backbone.conv_stem."]),
        ("ncm_texture_net", ["classifier.", "stages.2.1.", "stages.2.0.", "stages.1.1.",
                             "stages.1.0.", "stages.0.0.", "stem."]),
    ],
)  # fmt: skip
def test_rates_fall_geometrically_from_the_last_layer_to_the_stem(name, layers):
    model = build_model(name, num_classes=3)
    params = TrainParams(model=name, layer_decay=0.5, learning_rate=1.0)
    optimiser = build_optimiser(model, params, torch.device("cpu"))
    names = {id(weight): weight_name for weight_name, weight in model.named_parameters()}
    scale = {
        names[id(weight)]: group["lr_scale"]
        for group in optimiser.param_groups
        for weight in group["params"]
    }
    assert set(scale) == set(names.values())
    for depth, layer in enumerate(layers):
        found = {value for weight, value in scale.items() if weight.startswith(layer)}
        assert found == {0.5**depth}, layer


def test_a_first_adam_step_is_the_rate_of_its_layer():
    """Adam's first step is the learning rate, whatever the gradient."""
    params = SMALL.model_copy(
        update={
            **{"layer_decay": 0.5, "learning_rate": 1e-3, "epochs": 1, "batch_size": 40},
            "drop_rate": 0.0,
        }
    )
    before, result = make_model(params), run_fit(params)
    moved = measure_moves(before, result.model)
    assert moved["fc.weight"] == pytest.approx(1e-3, rel=1e-2)
    depth = 1 + max(int(name[5]) for name in moved if name.startswith("layer"))
    assert moved["conv1.0.weight"] == pytest.approx(1e-3 * 0.5**depth, rel=1e-2)
    assert result.history[0].learning_rate == 1e-3


def test_a_huge_pull_leaves_the_weights_at_their_start():
    params = SMALL.model_copy(update={"l2_sp": 1e30, "epochs": 1})
    assert measure_distance(params) == 0.0
    assert {name for name in find_changed(params) if not name.endswith(BUFFERS)} == {
        "fc.weight",
        "fc.bias",
    }


def test_under_adam_no_weight_moves_further_than_the_pull_allows():
    free = SMALL.model_copy(update={"epochs": 8, "learning_rate": 3e-3})
    assert measure_distance(free) > 0.02
    assert measure_distance(free.model_copy(update={"l2_sp": 100.0})) < 0.0125


class Slope(nn.Module):
    """A weight, and a last layer that timm's settings name."""

    pretrained_cfg: ClassVar = {"classifier": "last"}

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.tensor([5.0])), nn.Linear(1, 1)


def test_a_pull_divides_the_distance_of_every_step_by_a_known_number():
    """Steps of size r: distance d becomes (d + r) / (1 + r a); the last layer's is not touched."""
    rate, pull, steps = 0.1, 3.0, 4
    model = Slope()
    last = float(model.last.weight.detach())
    start = copy_start(model, SMALL.model_copy(update={"l2_sp": pull}))
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    distance = 0.0
    for _ in range(steps):
        model.weight.grad, model.last.weight.grad = torch.tensor([-1.0]), -torch.ones(1, 1)
        optimiser.step()
        pull_to_start(optimiser, start, pull)
        distance = (distance + rate) / (1.0 + rate * pull)
    assert float(model.weight.detach()) == pytest.approx(5.0 + distance, rel=1e-5)
    assert float(model.last.weight.detach()) == pytest.approx(last + steps * rate, rel=1e-5)


def test_other_starting_weights_are_another_run(tmp_path):
    params = HELD.model_copy(update={"epochs": 1})
    loaders = make_loader(params, train=True), make_loader(params, train=False)
    told = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = timm.create_model("test_resnet", pretrained=False, in_chans=1, num_classes=3)
        fit(model, *loaders, params, checkpoint_dir=tmp_path, on_epoch=told.append)
    assert len(told) == 2


def test_a_network_without_further_stages_is_refused():
    with pytest.raises(ModelError, match="trainable: all"):
        freeze_layers(Slope(), HELD)


@pytest.mark.parametrize("setting", [{"layer_decay": 0.9}, {"l2_sp": 1.0}])
def test_settings_that_hold_nothing_back_are_refused(setting):
    with pytest.raises(ValidationError):
        TrainParams(trainable="last_layer", **setting)
    TrainParams(trainable="last_stages", **setting)
