"""Synthetic SEM frames with a known truth: rendered series by series, and written to a folder."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ncm_kedro.atomic_write import replace_folder
from ncm_kedro.errors import StoreError
from ncm_kedro.params.synthesise import SynthesiseSemParams
from ncm_kedro.process_pool import open_process_pool
from ncm_kedro.synthetic.sem.acquisition import (
    corrupt_sidecar,
    draw_banner,
    expose_frame,
    write_sidecar,
)
from ncm_kedro.synthetic.sem.canvas import Canvas, expose_foil, render_canvas
from ncm_kedro.synthetic.sem.particles import LCO_LAW, choose_law
from ncm_kedro.synthetic.sem.plan import (
    BARE,
    CLIPPED,
    FRAME_INTERVAL,
    MALFORMED_SIDECAR,
    NO_SIDECAR,
    NORMAL,
    SeriesPlan,
    draw_path,
    plan_series,
)

logger = logging.getLogger(__name__)

BARE_FRACTION = 0.1
"""Fraction of bare foil from which a frame is called bare."""

Truth = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class SyntheticFrame:
    """One frame with all that is known of it.

    Attributes
    ----------
    file
        Path relative to the data root, ``<class>/<name>.jpg``.
    image_yx
        Grey levels (H, W) with the banner at the bottom.
    sidecar_bytes
        Content of ``<file>.txt``, or None where the sidecar is missing.
    truth
        A row of the truth table: ``file, class, composition, state, additive, ageing_signal,
        boundary_jitter, series, x_px, y_px, kind, session, session_is_own, bare_fraction,
        mean_diameter_um, acquired_at``; x and y are the frame's top-left corner in the canvas of
        its series.
    diameters_um
        Diameters in um of all secondary particles in the series' canvas.
    stray_files
        Further files to be written beside: relative path to content.
    jpeg_quality
        Quality, 0-100, to write the frame with.
    """

    file: str
    image_yx: NDArray[np.uint8]
    sidecar_bytes: bytes | None
    truth: Truth
    diameters_um: NDArray[np.float64]
    stray_files: Mapping[str, bytes] = field(default_factory=dict)
    jpeg_quality: int = 90


def iter_sem_frames(params: SynthesiseSemParams) -> Iterator[SyntheticFrame]:
    """Yield the frames of a synthetic data set, class by class and series by series.

    No more than one series per worker is held in memory, and one ready beyond them.

    Parameters
    ----------
    params
        What to synthesise. `workers` changes the speed, not the frames.
    """
    plans = plan_series(params)
    logger.info(
        "Synthesising %d SEM frames in %d series, about %.0f MB of JPEG",
        sum(len(plan.kinds) for plan in plans),
        len(plans),
        sum(len(plan.kinds) for plan in plans) * params.width_px * params.height_px * 0.25e-6,
    )
    if params.workers == 1:
        for plan in plans:
            yield from render_series(plan, params)
        return
    with open_process_pool(params.workers, _use_one_thread) as pool:
        waiting: deque[Future[list[SyntheticFrame]]] = deque()
        for plan in plans:
            waiting.append(pool.submit(_render_list, plan, params))
            if len(waiting) > params.workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def render_series(plan: SeriesPlan, params: SynthesiseSemParams) -> Iterator[SyntheticFrame]:
    """Render the canvas of a series and cut its frames out of it, one by one."""
    seeds = np.random.SeedSequence(params.seed, spawn_key=plan.key).spawn(2 + len(plan.kinds))
    path = draw_path(len(plan.kinds), params, plan.revisit, np.random.default_rng(seeds[0]))
    canvas = _render_field(plan, params, path, np.random.default_rng(seeds[1]))
    for index, (y, x) in enumerate(path):
        rng = np.random.default_rng(seeds[2 + index])
        yield _take_frame(plan, params, canvas, index, (int(y), int(x)), rng=rng)


def _render_field(
    plan: SeriesPlan,
    params: SynthesiseSemParams,
    path_yx: NDArray[np.int64],
    rng: np.random.Generator,
) -> Canvas:
    """Render the field of view that holds all frames of a series."""
    view = np.array([params.view_height_px, params.width_px])
    height, width = (path_yx.max(axis=0) + view).tolist()
    own = choose_law(params, plan.composition, plan.state, plan.additive)
    law = LCO_LAW if plan.lco else own
    canvas = render_canvas(
        (height, width), law, params.pixel_size_um, plan.recording.defocus_px, rng
    )
    if not plan.foil:
        return canvas
    lowest = path_yx[int(np.argmax(path_yx @ np.array([0.51, 0.86])))]
    corner = (lowest + 0.42 * view).astype(int)
    return expose_foil(canvas, (int(corner[0]), int(corner[1])), rng)


def _take_frame(
    plan: SeriesPlan,
    params: SynthesiseSemParams,
    canvas: Canvas,
    index: int,
    at_yx: tuple[int, int],
    *,
    rng: np.random.Generator,
) -> SyntheticFrame:
    """Expose one frame of a series and write its banner, sidecar and truth."""
    window = (
        slice(at_yx[0], at_yx[0] + params.view_height_px),
        slice(at_yx[1], at_yx[1] + params.width_px),
    )
    moment = plan.started_at + FRAME_INTERVAL * index
    moment += timedelta(microseconds=int(rng.integers(0, 900_000)))
    bare_fraction = float(canvas.bare_yx[window].mean())
    kind = plan.kinds[index]
    if kind == NORMAL and bare_fraction >= BARE_FRACTION:
        kind = BARE
    view = expose_frame(
        canvas.signal_yx[window], plan.recording, params.noise, rng, overexposed=kind == CLIPPED
    )
    banner = draw_banner(params.width_px, params.pixel_size_um, moment)
    name = f"ETRI_ 20 kV_SE_HighVac_x500 __{plan.first_number + index}.jpg"
    file = f"{plan.class_name}/{name}"
    truth: Truth = {
        "file": file,
        "class": plan.class_name,
        "composition": plan.composition,
        "state": plan.state,
        "additive": plan.additive.name,
        "ageing_signal": plan.additive.ageing_signal,
        "boundary_jitter": plan.additive.boundary_jitter,
        "series": plan.series,
        "x_px": at_yx[1],
        "y_px": at_yx[0],
        "kind": kind,
        "session": plan.recording.session,
        "session_is_own": plan.tied,
        "bare_fraction": bare_fraction,
        "mean_diameter_um": float(canvas.diameters_um.mean()),
        "acquired_at": moment.isoformat(timespec="milliseconds"),
    }
    return SyntheticFrame(
        file=file,
        image_yx=np.vstack([view, banner]),
        sidecar_bytes=_document_frame(plan, params, kind, name, moment=moment, rng=rng),
        truth=truth,
        diameters_um=canvas.diameters_um,
        stray_files=_name_stray_files(plan) if plan.stray and index == 0 else {},
        jpeg_quality=params.jpeg_quality,
    )


def _document_frame(
    plan: SeriesPlan,
    params: SynthesiseSemParams,
    kind: str,
    name: str,
    *,
    moment: datetime,
    rng: np.random.Generator,
) -> bytes | None:
    """Return the sidecar of a frame as its kind has it: in order, garbled or missing."""
    if kind == NO_SIDECAR:
        return None
    sidecar = write_sidecar(
        plan.folder + name,
        moment,
        plan.recording,
        width_px=params.width_px,
        pixel_size_um=params.pixel_size_um,
        filament_ua=5345 + round(float(rng.normal(0, 3)) / 0.147) * 0.147,
    )
    return corrupt_sidecar(sidecar) if kind == MALFORMED_SIDECAR else sidecar


def _name_stray_files(plan: SeriesPlan) -> dict[str, bytes]:
    """Return one-byte text files as they are left behind among the published frames."""
    orphan = f"ETRI_ 20 kV_SE_HighVac_x500 __{plan.first_number + 9000}.jpg.txt"
    return {f"{plan.class_name}/{orphan}": b"\n", f"{plan.class_name}/1.txt": b" "}


def _render_list(plan: SeriesPlan, params: SynthesiseSemParams) -> list[SyntheticFrame]:
    return list(render_series(plan, params))


def _use_one_thread() -> None:
    cv2.setNumThreads(1)


MARKER = ".ncm_synthetic"
"""File that marks a folder of synthetic frames, as against a user's own data."""


def write_sem_frames(frames: Iterable[SyntheticFrame], folder: Path) -> pd.DataFrame:
    """Write frames, sidecars and stray files as a user would lay them down.

    Everything is written beside the folder first and takes its place at the end; a failed run
    leaves what was there.

    Parameters
    ----------
    frames
        From `iter_sem_frames`; consumed one at a time.
    folder
        Data root, ``<folder>/<class>/<file>``. One that holds synthetic frames is replaced.

    Returns
    -------
    DataFrame
        The truth, a row per frame; `acquired_at` is a timestamp.

    Raises
    ------
    StoreError
        If the folder holds anything but synthetic frames, cannot be written, or there are no
        frames.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _explain(folder, error) from error
    try:
        draft.chmod(0o755)
        rows = [
            _write_frame(frame, draft)
            for frame in tqdm(frames, desc="SEM frames", disable=not sys.stderr.isatty())
        ]
        if not rows:
            raise StoreError(
                folder, found="no frames", expected="at least one", action="check the settings"
            )
        (draft / MARKER).write_text("Synthetic SEM frames; replaced by every run.\n")
        replace_folder(draft, folder)
    except OSError as error:
        raise _explain(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    truth = pd.DataFrame(rows)
    truth["acquired_at"] = pd.to_datetime(truth["acquired_at"], format="ISO8601")
    return truth


def _write_frame(frame: SyntheticFrame, root: Path) -> Truth:
    """Write one frame with its sidecar and stray files; return its row of the truth."""
    path = root / frame.file
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame.image_yx).save(path, format="JPEG", quality=frame.jpeg_quality)
    if frame.sidecar_bytes is not None:
        path.with_name(path.name + ".txt").write_bytes(frame.sidecar_bytes)
    for name, content in frame.stray_files.items():
        (root / name).write_bytes(content)
    return frame.truth


def _check_replaceable(folder: Path) -> None:
    """Reject a folder that holds a user's own data."""
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARKER).is_file()):
        raise StoreError(
            folder,
            found="data that this pipeline did not write",
            expected="a new or empty folder, or one of synthetic frames",
            action="move the data away or let `synthesise` write elsewhere",
        )


def _explain(folder: Path, error: OSError) -> StoreError:
    """Turn a failure of the file system into words."""
    return StoreError(
        folder,
        found=os.strerror(error.errno) if error.errno else str(error),
        expected="a place with room that can be written to",
        action="free space or choose another folder; nothing that was there has changed",
    )
