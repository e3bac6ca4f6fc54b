"""Project settings that Kedro reads."""

from ncm_kedro.hooks import LineageHook, NcmSession, PrerequisiteHook, TrackingHook

HOOKS = (PrerequisiteHook(), TrackingHook(), LineageHook())
SESSION_CLASS = NcmSession
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow",)  # TrackingHook extends its hook

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]},
    # A file of an environment holds what differs; a data set is replaced whole.
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
}
