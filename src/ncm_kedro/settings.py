"""Project settings that Kedro reads."""

import logging
import os
import sys

logging.captureWarnings(True)  # before MLflow's import warns: the logging configuration decides
# Of a class of kedro-mlflow, shown whatever the filters of warnings say; of kedro-viz.
_THEIRS = ("Add type hints to the `predict` method", "ORJSONResponse is deprecated")
logging.getLogger("py.warnings").addFilter(
    lambda record: not any(text in record.getMessage() for text in _THEIRS)
)
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # conf/logging.yml does

from ncm_kedro.hooks import LineageHook, TrackingHook, is_new_to_log, report_error  # noqa: E402
from ncm_kedro.prerequisites import NcmSession, PrerequisiteHook  # noqa: E402
from ncm_kedro.progress import ProgressHook  # noqa: E402

sys.excepthook = report_error
logging.getLogger("kedro.pipeline.node").addFilter(is_new_to_log)
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
