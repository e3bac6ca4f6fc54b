"""SEM classifiers with random weights."""

from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.models.predict import export_weights
from ncm_kedro.learning.training.fitting import build_network_for
from ncm_kedro.params.tune_train import TrainParams


def make_settings(classes=("811", "811_cycled"), **known):
    """Settings of a small network; `known` are further or other ones."""
    parts = [name.partition("_") for name in classes]
    named = {
        "model": "test_resnet", "classes": tuple(classes), "crop_px": 64, "pixel_size_um": 0.25,
        "input_px": 32, "compositions": tuple(part[0] for part in parts),
        "states": tuple(part[2] or "pristine" for part in parts),
    }  # fmt: skip
    return ClassifierSettings(**{**named, **known})


def make_classifier(settings=None, seed=0):
    settings = settings or make_settings()
    params = TrainParams(model=settings.model, pretrained=False, seed=seed)
    network = build_network_for(params, n_classes=len(settings.classes))
    return SemClassifier(settings, export_weights(network))
