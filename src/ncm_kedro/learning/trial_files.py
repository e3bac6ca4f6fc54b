"""What a trial leaves on disk: checkpoints while it runs, its curve when it is over."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from ncm_kedro.learning.checkpoint import read_checkpoint
from ncm_kedro.learning.train import EpochRecord


def trial_folder(search_dir: Path, number: int) -> Path:
    """Folder of one trial."""
    return search_dir / f"trial_{number:04d}"


def retire_trial(search_dir: Path, number: int) -> None:
    """Keep the curve of a trial that is over and delete its weights, which nobody needs."""
    folder = trial_folder(search_dir, number)
    state = read_checkpoint(folder / "last.pt")
    if state is not None:
        partial = folder / "curve.partial"
        partial.write_text(json.dumps(state["history"]), encoding="utf-8")
        partial.replace(folder / "curve.json")
    for name in ("last.pt", "best.pt"):
        (folder / name).unlink(missing_ok=True)


def read_curve(search_dir: Path, number: int) -> list[EpochRecord] | None:
    """Curve of a trial that is over; None where it has yet to run or to be taken up again."""
    path = trial_folder(search_dir, number) / "curve.json"
    if not path.exists():
        return None
    return [EpochRecord(**record) for record in json.loads(path.read_text(encoding="utf-8"))]


def describe_record(record: EpochRecord) -> dict[str, float]:
    """Return an epoch's record as Ray reports it."""
    return dataclasses.asdict(record)
