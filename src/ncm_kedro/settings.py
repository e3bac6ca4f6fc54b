"""Project settings that Kedro reads."""

from ncm_kedro.hooks import DemoHook, LineageHook, TrackingHook

HOOKS = (TrackingHook(), LineageHook(), DemoHook())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow",)  # TrackingHook extends its hook

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]},
}
