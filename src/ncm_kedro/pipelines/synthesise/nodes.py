"""From parameters to synthetic frames and tomograms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ncm_kedro.params.cycling import SyntheticCyclingParams
from ncm_kedro.params.holo import HoloPhantomParams
from ncm_kedro.params.synthesise import SynthesiseSemParams
from ncm_kedro.params.tomo_phantoms import TomoPhantomParams
from ncm_kedro.synthetic.cycling import SyntheticCells
from ncm_kedro.synthetic.tomo.volume import PhantomPlan

if TYPE_CHECKING:
    from ncm_kedro.synthetic.sem.frames import SyntheticFrame


class FrameStream:
    """Frames that are rendered while they are written, so that a data set need not fit memory."""

    def __init__(self, params: SynthesiseSemParams) -> None:
        self._params = params

    def __iter__(self) -> Iterator[SyntheticFrame]:
        from ncm_kedro.synthetic.sem.frames import iter_sem_frames

        return iter_sem_frames(self._params)


def synthesise_sem_frames(params: SynthesiseSemParams) -> FrameStream:
    """Plan synthetic frames; the data set renders and writes them one by one."""
    return FrameStream(params)


def synthesise_tomograms(params: TomoPhantomParams) -> list[PhantomPlan]:
    """Plan phantom tomograms; the data set renders them slab by slab."""
    from ncm_kedro.synthetic.tomo.volume import plan_phantoms

    return plan_phantoms(params)


def synthesise_scan(params: HoloPhantomParams) -> HoloPhantomParams:
    """Hand on the settings of the phantom scan; the data set renders it angle by angle."""
    return params


def synthesise_cycling(params: SyntheticCyclingParams) -> SyntheticCells:
    """Plan cells with a simulated fade; the data set writes them as cyclers' exports."""
    from ncm_kedro.synthetic.cycling import make_cells

    return make_cells(params)
