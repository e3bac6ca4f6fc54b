"""What runs the network: OpenVINO, onnxruntime or torch.

The star-convex network in torch: the way onto a GPU where onnxruntime has none.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ncm_kedro.errors import ModelError, SettingsError
from ncm_kedro.tomo.detector.files import NetworkShape, Weights
from ncm_kedro.tomo.detector.onnx import DIST_NAME, INPUT_NAME, PROB_NAME, build_onnx

Runtime = Literal["auto", "openvino", "onnxruntime", "torch"]
ResolvedRuntime = Literal["openvino", "onnxruntime", "torch"]
Precision = Literal["auto", "bf16", "f32"]
ResolvedPrecision = Literal["bf16", "f32"]

FloatArray = NDArray[np.float32]
Forward = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From sections (N, 1, H, W) to (N, 1, H/g, W/g) and (N, n_rays, H/g, W/g); thread-safe."""

_CUDA = "CUDAExecutionProvider"
_NVIDIA_DEVICE = Path("/dev/nvidiactl")


def resolve_runtime(runtime: Runtime) -> ResolvedRuntime:
    """Choose what computes on this machine.

    Raises
    ------
    SettingsError
        If what was asked for is not installed.
    """
    if runtime == "auto":
        if _has_onnxruntime_cuda():
            return "onnxruntime"
        if _has_torch_cuda():
            return "torch"
        return "openvino" if _is_installed("openvino") else "onnxruntime"
    if not _is_installed(runtime):
        raise SettingsError(
            f"runtime {runtime}",
            found="a runtime that is not installed here",
            expected="one of openvino, onnxruntime, torch that is installed",
            action="install it, or set runtime to auto",
        )
    return runtime


def resolve_precision(precision: Precision, runtime: ResolvedRuntime) -> ResolvedPrecision:
    """Choose the arithmetic: bfloat16 where the device has it and the runtime uses it.

    Raises
    ------
    SettingsError
        If bfloat16 is asked for where it cannot be had.
    """
    able = _supports_half_precision(runtime)
    if precision == "bf16" and not able:
        raise SettingsError(
            f"precision bf16 with {runtime}",
            found="no bfloat16 arithmetic in this runtime on this machine",
            expected="f32, or openvino on a processor with bfloat16 units, or torch",
            action="set precision to auto or f32, or runtime to openvino",
        )
    if precision == "auto":
        return "bf16" if able and (runtime != "torch" or _has_torch_cuda()) else "f32"
    return precision


def compile_network(
    shape: NetworkShape,
    weights: Weights,
    runtime: ResolvedRuntime,
    precision: ResolvedPrecision,
    threads: int | None,
) -> Forward:
    """Compile the network for a runtime.

    Parameters
    ----------
    shape, weights
        The network.
    runtime, precision
        What computes, and in which arithmetic.
    threads
        Threads of one forward pass; None for all cores.

    Returns
    -------
    callable
        Sections to outputs; thread-safe.

    Raises
    ------
    ModelError
        If the runtime refuses the network.
    """
    make = {
        "openvino": _compile_openvino,
        "onnxruntime": _compile_onnxruntime,
        "torch": _compile_torch,
    }[runtime]
    try:
        return make(shape, weights, precision, threads)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the network for {runtime}",
            found=f"a network that it cannot compile ({error})",
            expected="a runtime that takes the network",
            action="set runtime to onnxruntime or torch",
        ) from error


def _compile_openvino(
    shape: NetworkShape, weights: Weights, precision: ResolvedPrecision, threads: int | None
) -> Forward:
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    model = core.read_model(build_onnx(shape, weights), b"")
    compiled = core.compile_model(model, "CPU", settings)
    local = threading.local()

    def forward(sections: FloatArray) -> tuple[FloatArray, FloatArray]:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        found = local.request.infer({INPUT_NAME: sections}, share_inputs=True, share_outputs=True)
        return found[PROB_NAME], found[DIST_NAME]

    return forward


def _compile_onnxruntime(
    shape: NetworkShape, weights: Weights, precision: ResolvedPrecision, threads: int | None
) -> Forward:
    import onnxruntime

    del precision  # this graph is float32; the runtime has no switch for it
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    wanted = [_CUDA, "CPUExecutionProvider"]
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(build_onnx(shape, weights), options, providers)

    def forward(sections: FloatArray) -> tuple[FloatArray, FloatArray]:
        prob, dist = session.run([PROB_NAME, DIST_NAME], {INPUT_NAME: sections})
        return prob, dist

    return forward


def _compile_torch(
    shape: NetworkShape, weights: Weights, precision: ResolvedPrecision, threads: int | None
) -> Forward:
    import torch

    from ncm_kedro.tomo.detector.runtimes import StarNetwork

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = StarNetwork(shape, weights).to(memory_format=torch.channels_last).to(device)
    if threads is not None and device.type == "cpu":
        torch.set_num_threads(threads)

    def forward(sections: FloatArray) -> tuple[FloatArray, FloatArray]:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
        ):
            stack = torch.from_numpy(np.ascontiguousarray(sections)).to(device)
            prob, dist = network(stack.to(memory_format=torch.channels_last))
        return prob.float().cpu().numpy(), dist.float().cpu().numpy()

    return forward


def _supports_half_precision(runtime: ResolvedRuntime) -> bool:
    if runtime == "torch":
        return True
    if runtime == "onnxruntime":
        return False
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _has_onnxruntime_cuda() -> bool:
    if not (_is_installed("onnxruntime") and _NVIDIA_DEVICE.exists()):
        return False
    import onnxruntime

    return _CUDA in onnxruntime.get_available_providers()


def _has_torch_cuda() -> bool:
    if not (_is_installed("torch") and _NVIDIA_DEVICE.exists()):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


class StarNetwork(nn.Module):
    """U-Net with a probability and a distance output, weights as in the StarDist2D folder.

    Parameters
    ----------
    shape
        What the network looks like.
    weights
        Kernel and bias of each layer, kernels as (height, width, channels in, channels out).
    """

    def __init__(self, shape: NetworkShape, weights: Weights) -> None:
        super().__init__()
        self._shape = shape
        self._layers = nn.ModuleDict()
        for name, edge, channels, out in shape.list_layers():
            layer = nn.Conv2d(channels, out, edge, padding=edge // 2)
            kernel, bias = weights[name]
            kernel_oihw = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
            layer.weight = nn.Parameter(torch.from_numpy(kernel_oihw))
            layer.bias = nn.Parameter(torch.from_numpy(bias.copy()))
            self._layers[name] = layer
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, sections_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """Predict probability (N, 1, H/g, W/g) and distances (N, n_rays, H/g, W/g)."""
        shape, top = self._shape, sections_nchw
        for level in range(shape.grid_px.bit_length() - 1):
            for number in range(shape.convolutions):
                top = self._convolve(f"grid_level_{level}_no_{number}", top)
            top = nn.functional.max_pool2d(top, 2)
        skipped = []
        for level in range(shape.depth):
            for number in range(shape.convolutions):
                top = self._convolve(f"down_level_{level}_no_{number}", top)
            skipped.append(top)
            top = nn.functional.max_pool2d(top, 2)
        numbers = (*range(shape.convolutions - 1), shape.convolutions)
        for number in numbers:
            top = self._convolve(f"middle_{number}", top)
        for level in reversed(range(shape.depth)):
            top = torch.cat([nn.functional.interpolate(top, scale_factor=2), skipped[level]], 1)
            for number in numbers:
                top = self._convolve(f"up_level_{level}_no_{number}", top)
        if shape.features:
            top = self._convolve("features", top)
        return torch.sigmoid(self._layers["prob"](top)), self._layers["dist"](top)

    def _convolve(self, name: str, top: Tensor) -> Tensor:
        result: Tensor = nn.functional.relu(self._layers[name](top), inplace=True)
        return result
