"""Project settings that Kedro reads."""

from ncm_kedro.default_run import DemoHook, NewElectrodesHook
from ncm_kedro.hooks import LineageHook, TrackingHook
from ncm_kedro.prerequisites import PrerequisiteHook

HOOKS = (
    PrerequisiteHook(),
    TrackingHook(),
    LineageHook(),
    DemoHook(),
    NewElectrodesHook(),
)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow",)  # TrackingHook extends its hook

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]},
}
