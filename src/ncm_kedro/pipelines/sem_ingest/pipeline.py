"""Wiring of ``sem_ingest``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.sem_ingest import nodes


def create_pipeline() -> Pipeline:
    """Decode once, assess, chain into mosaics, audit; a class without a frame ends the run."""
    audit = node(
        nodes.audit_sem_frames,
        inputs=["sem_manifest", "sem_frames", "sem_links", "params:sem_ingest.audit"],
        outputs=["sem_audit", "sem_audit_figures", "sem_audit_page"],
        name="audit_sem_frames",
        tags="sem",
    )
    check = node(
        nodes.require_sem_classes,
        inputs="sem_audit",
        outputs=None,
        name="require_sem_classes",
        tags="sem",
    )
    return create_reading_pipeline() + pipeline([audit, check])


def create_reading_pipeline() -> Pipeline:
    """Turn raw frames into a store, a manifest and mosaics; any set of frames is read so."""
    return pipeline(
        [
            node(
                nodes.plan_sem_decoding,
                inputs=[
                    "raw_sem_frames",
                    "params:sem_ingest.labels",
                    "params:sem_ingest.reading",
                ],
                outputs="sem_frames",
                name="decode_frames",
            ),
            node(
                nodes.assess_sem_frames,
                inputs=["sem_frames", "params:sem_ingest.quality", "params:sem_ingest.workers"],
                outputs=["sem_assessed", "sem_rejected_files"],
                name="assess_frames",
            ),
            node(
                nodes.find_sem_overlaps,
                inputs=["sem_frames", "sem_assessed", "params:sem_ingest.mosaic"],
                outputs="sem_overlaps",
                name="find_overlaps",
            ),
            node(
                nodes.build_sem_manifest,
                inputs=["sem_assessed", "sem_overlaps", "params:sem_ingest.mosaic"],
                outputs=["sem_manifest", "sem_links"],
                name="build_manifest",
            ),
        ],
        tags="sem",
    )
