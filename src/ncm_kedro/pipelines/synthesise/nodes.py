"""From parameters to synthetic frames and tomograms."""

from __future__ import annotations

from collections.abc import Iterator

from ncm_kedro.params.cycling import SyntheticCyclingParams
from ncm_kedro.params.synthesise import SynthesiseSemParams
from ncm_kedro.params.tomo_phantoms import TomoPhantomParams
from ncm_kedro.synthetic.cycling import SyntheticCells, make_cells
from ncm_kedro.synthetic.sem.frames import SyntheticFrame, iter_sem_frames
from ncm_kedro.synthetic.tomo.volume import PhantomPlan, plan_phantoms


class FrameStream:
    """Frames that are rendered while they are written, so that a data set need not fit memory."""

    def __init__(self, params: SynthesiseSemParams) -> None:
        self._params = params

    def __iter__(self) -> Iterator[SyntheticFrame]:
        return iter_sem_frames(self._params)


def synthesise_sem_frames(params: SynthesiseSemParams) -> FrameStream:
    """Plan synthetic frames; the data set renders and writes them one by one."""
    return FrameStream(params)


def synthesise_tomograms(params: TomoPhantomParams) -> list[PhantomPlan]:
    """Plan phantom tomograms; the data set renders them slab by slab."""
    return plan_phantoms(params)


def synthesise_cycling(params: SyntheticCyclingParams) -> SyntheticCells:
    """Plan cells with a simulated fade; the data set writes them as cyclers' exports."""
    return make_cells(params)
