"""Measurements and tables by sample, and measurements that are yet to be made.

Which labels are measured, and when a measurement must be made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ncm_kedro.errors import Rejections, StoreError
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.review.edits import EditedLabels
from ncm_kedro.tomo.volumes.identity import MADE_FROM, check_belongs, fingerprint, identify_sources
from ncm_kedro.tomo.volumes.volume import Volume, list_samples

if TYPE_CHECKING:
    from ncm_kedro.particles.measure import Measurement


@dataclass(frozen=True)
class MeasurementPlan:
    """A measurement that is yet to be made; the data set that saves it runs ``compute``.

    Attributes
    ----------
    name
        The sample.
    fingerprint
        Changes whenever an input, a setting or the method changes; a finished measurement of the
        same fingerprint is reused, an unfinished one is resumed.
    compute
        Called with a folder for scratch and for the record of finished blocks, which survives a
        kill; called again with it, it redoes no finished block.
    """

    name: str
    fingerprint: str
    compute: Callable[[Path], Measurement]


MeasurementMaker = Callable[[], MeasurementPlan]
"""Makes the plan when its turn comes; what it raises concerns its sample alone."""


class Measurements(dict[str, "Measurement"]):
    """Measurements by sample.

    Parameters
    ----------
    rejections
        Reason by sample that could not be measured in the last run.
    """

    def __init__(
        self,
        measurements: Mapping[str, Measurement],
        rejections: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(measurements)
        self.rejections = dict(rejections or {})


class ParticleTables(dict[str, pd.DataFrame]):
    """Tables of one kind by sample.

    Parameters
    ----------
    rejections
        Reason by sample that has no table.
    """

    def __init__(
        self, tables: Mapping[str, pd.DataFrame], rejections: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(tables)
        self.rejections = dict(rejections or {})


_log = logging.getLogger(__name__)


def select_current(
    found: Mapping[str, Any], table: pd.DataFrame
) -> tuple[dict[str, Any], dict[str, str]]:
    """Take the samples of this run whose data was made from their present tomogram.

    Parameters
    ----------
    found
        Measurements or tables by sample; folders may hold those of earlier runs, too.

    Returns
    -------
    current : dict
        What is up to date.
    rejections : dict of str
        Reason by sample that is not.

    Raises
    ------
    StoreError
        If not one is up to date.
    """
    present = table.set_index("sample")["fingerprint"]
    current, rejections = {}, Rejections()
    names = list_samples(table, found)
    for name in names:
        with rejections.catch(name, name):
            made_from = (
                found[name].attrs.get(MADE_FROM)
                if isinstance(found[name], pd.DataFrame)
                else found[name].made_from
            )
            check_belongs(f"sample {name}", made_from, tomogram=str(present[name]))
            current[name] = found[name]
    rejections.check_left(len(names))
    return current, rejections.reasons


def choose_labels(
    labels: Volume, reviewed: Volume | None, edited: EditedLabels | None = None
) -> Volume:
    """Choose the labels that were corrected by hand, where they belong to the current ones.

    Parameters
    ----------
    labels
        What the segmentation found.
    reviewed
        What came back from a review, or None. An older segmentation's review is ignored.
    edited
        The edits as they lie there now. Without them the review counts as taken back.

    Raises
    ------
    StoreError
        If there are edits that the review did not see.
    """
    if edited is not None:
        _check_seen(labels, reviewed, edited)
    if reviewed is None:
        return labels
    if edited is None:
        _log.warning(
            "%s: the edits that the reviewed labels were made from are gone; the labels of the "
            "segmentation are used",
            labels.name,
        )
        return labels
    if reviewed.attributes.get("edited_from") != labels.fingerprint:
        _log.warning(
            "%s: the reviewed labels come from an earlier segmentation and are not used; review "
            "the new labels, or go back to the settings of the old ones",
            labels.name,
        )
        return labels
    return reviewed


def _check_seen(labels: Volume, reviewed: Volume | None, edited: EditedLabels) -> None:
    """Check that edits of these labels are those that were taken back."""
    of_these = edited.attributes.get("original_fingerprint", labels.fingerprint)
    if of_these != labels.fingerprint:
        _log.warning("%s: %s holds edits of an earlier segmentation, which are not used",
                     labels.name, edited.path)  # fmt: skip
        return
    seen = None if reviewed is None else reviewed.attributes.get("edited_at")
    if seen != edited.saved_at:
        raise StoreError(
            edited.path,
            found=f"edits saved at {edited.saved_at}, where those that were taken back are "
            f"{'none' if seen is None else f'of {seen}'}",
            expected="edits that tomo_review has taken back",
            action="run tomo_review, then this again; or move the edits away",
        )


def plan_measurement(
    labels: Volume, volume: Volume, params: AttributeParams, compute: TomoComputeParams
) -> MeasurementPlan:
    """Plan the measurement of a sample.

    Parameters
    ----------
    volume
        Grey values that they belong to.
    compute
        Who works on the blocks; the result does not depend on it.

    Raises
    ------
    StoreError
        If the labels were made from another tomogram.
    """
    from ncm_kedro.particles.measure import METHOD_VERSION

    check_belongs(labels.path, labels.attributes.get(MADE_FROM), tomogram=volume)
    return MeasurementPlan(
        name=labels.name,
        fingerprint=fingerprint(
            f"particles-{METHOD_VERSION}", labels.fingerprint, volume.fingerprint, params=params
        ),
        compute=_Measuring(labels, volume, params, compute),
    )


@dataclass(frozen=True)
class _Measuring:
    labels: Volume
    volume: Volume
    params: AttributeParams
    compute: TomoComputeParams

    def __call__(self, work: Path) -> Measurement:
        from ncm_kedro.particles.specimen import take_specimen
        from ncm_kedro.particles.variants import measure_with_uncertainty

        specimen = take_specimen(self.labels, self.volume)
        found = measure_with_uncertainty(specimen, self.params, self.compute, work)
        sources = identify_sources(tomogram=self.volume, labels=self.labels)
        return replace(found, made_from=sources)
