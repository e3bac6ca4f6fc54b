"""A folder of volumes, one OME-Zarr per sample."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from kedro.io import AbstractDataset

from ncm_kedro.datasets.previews import ImagePreview, draw_sheet
from ncm_kedro.datasets.published import PublishedFolder
from ncm_kedro.datasets.tomograms.store import SUFFIX, load_volume, read_identity, write_volume
from ncm_kedro.errors import SettingsError, StoreError
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
_log = logging.getLogger(__name__)

Plans = Mapping[str, VolumePlan | PlanMaker] | Iterable[VolumePlan]


class VolumeFolder(PublishedFolder):
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
    """

    suffix = SUFFIX
    holds = "volumes"

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
        super().__init__(filepath=filepath, metadata=metadata)
        self._kind = kind
        self._workers = TomoComputeParams(**(compute or {}))
        self.may_be_missing = may_be_empty
        self._only_planned = only_planned

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
        stores, rejected = self._list_finished()
        return Volumes({self._sample(path): load_volume(path) for path in stores}, rejected)

    def save(self, data: Plans) -> None:
        """Compute the volumes that are not there yet; others stay as they are.

        A sample that cannot be planned, read or computed is rejected, whatever it raises; the
        others are processed.

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
        plans = data if isinstance(data, Mapping) else {plan.name: plan for plan in data}
        self._save_all(plans)
        if self._only_planned:
            with self._write():
                for store in self._list_results({}):
                    if self._sample(store) not in plans:
                        _log.info("%s is removed: what it was made from is gone", store)
                        shutil.rmtree(store)

    def preview(self) -> ImagePreview:
        """Return the middle sections of the first samples: grey values, or labels in colours."""
        volumes = list(self.load().values())[:_PREVIEWED]
        return draw_sheet((_draw_section(volume, self._kind) for volume in volumes), _PREVIEWED)

    def _read_fingerprint(self, result: Path) -> str | None:
        identity = read_identity(result)
        return str(identity["fingerprint"]) if identity and identity.get("finished") else None

    def _compute(self, partial: Path, plan: VolumePlan) -> None:
        _log.info("%s: %.2f GB before compression", partial, plan.nbytes / 1e9)
        write_volume(partial, plan, self._workers)

    def _save_one(self, plan: VolumePlan) -> None:
        if plan.is_label != (self._kind == "label"):
            raise SettingsError(
                f"volume folder {self._filepath}",
                found=f"kind: {self._kind}, and a plan of the other kind for {plan.name}",
                expected="label volumes in a folder of kind label, grey ones in one of kind image",
                action="correct `kind` in the catalog",
            )
        super()._save_one(plan)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "kind": self._kind}


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
