"""A folder of volumes, one OME-Zarr per sample."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from kedro.io import AbstractDataset

from ncm_kedro.datasets.files import (
    describe_space,
    lock_store,
    read_rejections,
    report_write_errors,
    write_rejections,
)
from ncm_kedro.datasets.previews import ImagePreview, draw_sheet
from ncm_kedro.datasets.tomograms.store import (
    SUFFIX,
    discard_partial,
    load_volume,
    read_identity,
    recover_store,
    write_volume,
)
from ncm_kedro.errors import Rejections, SettingsError, StoreError
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.review.edits import EditedLabels, open_edited
from ncm_kedro.tomo.review.review import ReviewProject, write_review
from ncm_kedro.tomo.review.viewer import EDITED
from ncm_kedro.tomo.volumes.volume import (
    PlanMaker,
    Volume,
    VolumePlan,
    Volumes,
    measure_grey_range,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_PREVIEWED = 3
_COLOUR_STEPS = (83, 151, 211)  # red, green, blue per identity: neighbours differ
_KEPT = "finished volumes are intact, and finished blocks are not computed again"
_log = logging.getLogger(__name__)

Plans = Mapping[str, VolumePlan | PlanMaker] | Iterable[VolumePlan]


class VolumeFolder(AbstractDataset[Plans, Volumes]):
    """Volumes as ``<filepath>/<sample>.ome.zarr``; saving computes them, and can be resumed.

    Parameters
    ----------
    kind
        ``image`` (levels are means) or ``label`` (levels pick identities).
    compute
        Who works on the blocks, and how large they are; keys of `TomoComputeParams`.
    may_be_empty
        Whether loading a folder without volumes gives none instead of an error.
    only_planned
        Whether saving removes the volumes that were not planned.
    metadata
        Anything; kedro ignores it (kedro-viz reads it).
    """

    def __init__(
        self,
        *,
        filepath: str,
        kind: Literal["image", "label"],
        compute: dict[str, Any] | None = None,
        may_be_empty: bool = False,
        only_planned: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._filepath = Path(filepath)
        self._kind = kind
        self._compute = TomoComputeParams(**(compute or {}))
        self.may_be_missing = may_be_empty
        self._only_planned = only_planned
        self.metadata = metadata

    def load(self) -> Volumes:
        """Open every volume of the folder; no voxel is read.

        Returns
        -------
        Volumes
            By sample, sorted. A sample that the last save rejected is omitted, even
            where an older volume of it lies there.

        Raises
        ------
        StoreError
            If there is no volume, or one whose metadata is damaged.
        """
        self._recover()
        rejections = read_rejections(self._filepath)
        stores = [path for path in _list_stores(self._filepath) if _name(path) not in rejections]
        if not stores and not rejections and not self.may_be_missing:
            raise StoreError(
                self._filepath,
                found="no finished volume",
                expected=f"volumes as <sample>{SUFFIX}",
                action="run the pipeline that writes this data set to its end",
            )
        volumes = [load_volume(path) for path in stores]
        return Volumes({volume.name: volume for volume in volumes}, rejections)

    def save(self, data: Plans) -> None:
        """Compute the volumes that are not there yet; others stay as they are.

        A sample that cannot be planned, read or computed is rejected, whatever it raises; the
        others are processed. Its finished blocks stay, unless its content is what is wrong.

        Parameters
        ----------
        data
            One plan per sample, or what makes it. Volumes of samples without a plan are left
            alone, or removed where ``only_planned``.

        Raises
        ------
        StoreError
            If another run writes here, the disk is full, or the folder may not be written.
        NcmError
            If not one sample can be used.
        """
        plans = _list_makers(data)
        rejections = Rejections()
        with report_write_errors(self._filepath, _KEPT), lock_store(self._filepath):
            self._filepath.mkdir(parents=True, exist_ok=True)
            for name, make in plans.items():
                with rejections.catch(name, self._store(name)):
                    plan = make()
                    self._check(plan)
                    self._save_one(plan)
                if name in rejections and rejections[name].__cause__ is None:
                    discard_partial(self._store(name))
            write_rejections(self._filepath, rejections.reasons)
            if self._only_planned:
                self._remove_others(plans)
        rejections.check_left(len(plans))

    def preview(self) -> ImagePreview:
        """Return the middle sections of the first samples: grey values, or labels in colours."""
        volumes = list(self.load().values())[:_PREVIEWED]
        return draw_sheet((_draw_section(volume, self._kind) for volume in volumes), _PREVIEWED)

    def content_hash(self) -> str | None:
        """Return a hash over the volumes' fingerprints, None where there is no volume."""
        known = {_name(path): read_identity(path) for path in _list_stores(self._filepath)}
        identity = [f"{name} {entry['fingerprint']}" for name, entry in known.items() if entry]
        return hashlib.sha256("\n".join(identity).encode()).hexdigest() if identity else None

    def _save_one(self, plan: VolumePlan) -> None:
        store = self._store(plan.name)
        recover_store(store)
        identity = read_identity(store)
        if identity and identity["finished"] and identity["fingerprint"] == plan.fingerprint:
            _log.info("%s is up to date", store)
            discard_partial(store)
            return
        _log.info("%s: %.2f GB before compression, %s", store, plan.nbytes / 1e9,
                  describe_space(self._filepath))  # fmt: skip
        write_volume(store, plan, self._compute)

    def _remove_others(self, planned: Mapping[str, PlanMaker]) -> None:
        for store in list(_list_stores(self._filepath)):
            if _name(store) not in planned:
                _log.info("%s is removed: what it was made from is gone", store)
                shutil.rmtree(store)

    def _check(self, plan: VolumePlan) -> None:
        if plan.is_label != (self._kind == "label"):
            raise SettingsError(
                f"volume folder {self._filepath}",
                found=f"kind: {self._kind}, and a plan of the other kind for {plan.name}",
                expected="label volumes in a folder of kind label, grey ones in one of kind image",
                action="correct `kind` in the catalog",
            )

    def _store(self, sample: str) -> Path:
        return self._filepath / f"{sample}{SUFFIX}"

    def _recover(self) -> None:
        """Repair interrupted exchanges, unless another run writes here."""
        interrupted = list(self._filepath.glob(f"*{SUFFIX}.old"))
        if interrupted:
            with report_write_errors(self._filepath, _KEPT), lock_store(self._filepath):
                for path in interrupted:
                    recover_store(path.with_suffix(""))

    def _exists(self) -> bool:
        return any(
            (read_identity(path) or {}).get("finished") for path in _list_stores(self._filepath)
        )

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "kind": self._kind}


def _list_makers(data: Plans) -> dict[str, PlanMaker]:
    if not isinstance(data, Mapping):
        return {plan.name: partial(_return, plan) for plan in data}
    return {
        name: partial(_return, plan) if isinstance(plan, VolumePlan) else plan
        for name, plan in data.items()
    }


def _return(plan: VolumePlan) -> VolumePlan:
    return plan


def _draw_section(volume: Volume, kind: str) -> Image:
    """Draw the middle xy section, with the sample's name."""
    from PIL import Image, ImageDraw

    section_yx = np.asarray(volume.array[volume.shape_zyx[0] // 2])
    if kind == "label":
        codes = section_yx[..., np.newaxis].astype(np.int64) * _COLOUR_STEPS
        drawn = np.where(section_yx[..., np.newaxis] == 0, 0, 64 + codes % 192)
    else:
        low, high = measure_grey_range(section_yx)
        drawn = np.clip((section_yx - low) / max(high - low, 1e-12), 0, 1) * 255
    image = Image.fromarray(drawn.astype(np.uint8)).convert("RGB")
    ImageDraw.Draw(image).text((4, 2), volume.name, "yellow", stroke_width=2, stroke_fill="black")
    return image


def _list_stores(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_dir()))


def _name(store: Path) -> str:
    return store.name.removesuffix(SUFFIX)


class ReviewFolder(AbstractDataset[Iterable[ReviewProject], dict[str, EditedLabels]]):
    """Writes a project for napari per sample; loads the edits that were saved there.

    Parameters
    ----------
    filepath
        The folder; a folder per sample is made in it.
    edits
        The folder of what people have edited, which nothing derived shares.

    Attributes
    ----------
    may_be_missing
        Nobody needs to edit.
    """

    may_be_missing = True

    def __init__(
        self, *, filepath: str, edits: str, metadata: dict[str, Any] | None = None
    ) -> None:
        self._filepath = Path(filepath)
        self._edits = Path(edits)
        self.metadata = metadata

    def save(self, data: Iterable[ReviewProject]) -> None:
        """Write the projects; edits that lie there stay."""
        for project in data:
            sample = project.image.name
            write_review(project, self._filepath / sample, self._edits / sample / EDITED)

    def load(self) -> dict[str, EditedLabels]:
        """Open the edited labels by sample; none where nobody has edited.

        Raises
        ------
        StoreError
            If edited labels cannot be read, or lie where earlier versions kept them.
        """
        for misplaced in self._filepath.glob(f"*/{EDITED}"):
            raise StoreError(
                misplaced,
                found="edits among results, which may be deleted",
                expected=f"edits in {self._edits}",
                action=f"move this folder to {self._edits / misplaced.parent.name / EDITED}",
            )
        stores = sorted(self._edits.glob(f"*/{EDITED}"))
        return {store.parent.name: open_edited(store) for store in stores}

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "edits": str(self._edits)}
