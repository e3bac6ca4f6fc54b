"""Everything that is fitted on the validation split of a trained classifier."""

from __future__ import annotations

from collections.abc import Sequence

from ncm_kedro.learning.calibration import apply_temperature, fit_temperature
from ncm_kedro.learning.classifier import SemClassifier
from ncm_kedro.learning.conformal import fit_sets
from ncm_kedro.learning.predict import CropOutputs
from ncm_kedro.learning.unknown import fit_detector
from ncm_kedro.params.tune_train import CalibrationParams


def calibrate_classifier(
    classifier: SemClassifier,
    train: CropOutputs,
    validate: CropOutputs,
    mosaics: Sequence[str],
    params: CalibrationParams,
) -> SemClassifier:
    """Fit temperature, prediction sets and unknown-sample flag.

    The same validation crops also chose the best epoch, so that they are a little too easy; the
    test split shows by how much.

    Parameters
    ----------
    classifier
        Trained, not calibrated.
    train, validate
        What its network says of both splits; the validation split as it will say it of new crops,
        views averaged if they are to be.
    mosaics
        (N,) name of the connected ground each validation crop lies on.
    params
        Settings of the three; without ``enabled`` the temperature stays 1.
    """
    temperature = (
        fit_temperature(validate.logits, validate.labels, params) if params.enabled else 1.0
    )
    sets = fit_sets(
        apply_temperature(validate.logits, temperature),
        validate.labels,
        mosaics,
        classifier.settings.classes,
        params.sets,
    )
    detector = fit_detector(train, validate, mosaics, params.unknown)
    return classifier.with_temperature(temperature).with_safeguards(sets, detector)
