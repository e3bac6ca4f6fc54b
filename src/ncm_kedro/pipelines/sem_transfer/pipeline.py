"""Wiring of ``sem_transfer``."""

from __future__ import annotations

from typing import get_args

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.params.sem_studies import HoldOutKind
from ncm_kedro.pipelines.crop_augment.pipeline import create_crop_set_pipeline
from ncm_kedro.pipelines.sem_transfer import nodes

KINDS: tuple[HoldOutKind, ...] = get_args(HoldOutKind)
PARAMS = "params:sem_transfer"


def create_pipeline() -> Pipeline:
    """Train with something held out, in turn, and test on that; a node per kind of hold-out."""
    report = node(
        nodes.report_sem_transfer,
        inputs={
            "crop_report": "sem_crop_report",
            "params": PARAMS,
            **{str(kind): f"sem_hold_outs_{kind}" for kind in KINDS},
        },
        outputs=[
            "sem_transfer_scores",
            "sem_transfer_report",
            "sem_transfer_metrics",
            "sem_transfer_figures",
        ],
        name="report_sem_transfer",
        tags="sem",
    )
    studied = sum((_hold_out(kind) for kind in KINDS), create_crop_set_pipeline())
    return studied + pipeline([report])


def _hold_out(kind: HoldOutKind) -> Pipeline:
    inputs = {
        "crop_set": "sem_crop_set",
        "manifest": "sem_manifest",
        "folder": "sem_transfer_folder",
    }
    step = node(
        nodes.make_hold_outs(kind),
        inputs={**inputs, "params": PARAMS},
        outputs="hold_outs",
        name="hold_out",
        tags="sem",
    )
    return pipeline(
        [step],
        namespace=f"transfer.{kind}",
        inputs=set(inputs.values()),
        outputs={"hold_outs": f"sem_hold_outs_{kind}"},
        parameters={PARAMS},
    )
