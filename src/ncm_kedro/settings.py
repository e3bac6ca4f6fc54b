"""Project settings that Kedro reads."""

import logging

logging.captureWarnings(True)  # before MLflow's import warns: the logging configuration decides

from ncm_kedro.hooks import (  # noqa: E402
    LineageHook,
    NcmSession,
    PrerequisiteHook,
    TrackingHook,
)
from ncm_kedro.progress import ProgressHook  # noqa: E402

HOOKS = (PrerequisiteHook(), TrackingHook(), LineageHook(), ProgressHook())
SESSION_CLASS = NcmSession
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow",)  # TrackingHook extends its hook

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {
        "mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"],
        "progress": ["progress*"],
    },
    # A file of an environment holds what differs; a data set is replaced whole.
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
}
