"""A command starts at once: what is slow to import waits until a node needs it."""

import subprocess
import sys
from pathlib import Path

SLOW_TO_IMPORT = (
    "cv2", "dask", "distributed", "h5py", "imagecodecs", "keras", "matplotlib.pyplot", "numba",
    "onnx", "onnxruntime", "openvino", "pandera", "ray", "scipy.stats", "shap", "skimage",
    "sklearn", "stardist", "tensorflow", "tifffile", "timm", "torch", "torchvision", "zarr",
)  # fmt: skip


def test_listing_the_pipelines_imports_nothing_slow():
    code = f"""
import sys
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
bootstrap_project({str(Path(__file__).parents[1])!r})
assert list(pipelines)
sys.exit(", ".join(name for name in {SLOW_TO_IMPORT} if name in sys.modules) or 0)
"""
    listed = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert listed.returncode == 0, listed.stderr
