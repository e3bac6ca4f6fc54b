"""A connection to Ray, quiet and without telemetry."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.tune_train import SearchParams

_MEGABYTE = 1024**2
_STORE_MARGIN = 1.25
_QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


@contextmanager
def connect_ray(search: SearchParams, data_bytes: int) -> Iterator[dict[str, float]]:
    """Connect to Ray; a local one is started and stopped again.

    Parameters
    ----------
    search
        Address and resources.
    data_bytes
        Size of the data that all trials share; a local object store is made to hold it.

    Yields
    ------
    dict
        `cpu` and `gpu` of a trial, cut to what there is, so that no trial waits for ever.

    Raises
    ------
    SettingsError
        The cluster does not answer.
    """
    for name, value in _QUIET_RAY.items():
        os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415  Ray is needed by a search alone

    starts = not ray.is_initialized()
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
    if search.ray_address is None:
        needed = data_bytes * _STORE_MARGIN
        store = int(max(search.object_store_mb * _MEGABYTE, needed + 64 * _MEGABYTE))
        options |= {"num_cpus": os.cpu_count(), "object_store_memory": store}
    else:
        options = {"address": search.ray_address, "log_to_driver": False}
    if starts:
        try:
            ray.init(logging_level=logging.WARNING, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SettingsError(
                "search.ray_address",
                found=f"{search.ray_address}, which does not answer ({error})",
                expected="the address of a running Ray cluster, or none for a local one",
                action="start the cluster (`ray start --head`) or leave the address out",
            ) from error
    try:
        available = ray.cluster_resources()
        yield {
            "cpu": min(search.cpus_per_trial, available.get("CPU", 1.0)),
            "gpu": min(search.gpus_per_trial, available.get("GPU", 0.0)),
        }
    finally:
        if starts:
            ray.shutdown()
