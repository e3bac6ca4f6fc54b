"""What runs the network: OpenVINO or onnxruntime on an ONNX graph, or torch.

The graph is written from the weights without TensorFlow. torch computes on a GPU where
onnxruntime cannot.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ncm_kedro.errors import ModelError, SettingsError
from ncm_kedro.tomo.detector.files import NetworkShape, Weights

INPUT_NAME = "sections"
PROB_NAME = "prob"
DIST_NAME = "dist"

_OPSET = 18
_IR_VERSION = 9


def build_onnx(shape: NetworkShape, weights: Weights) -> bytes:
    """Write the network as ONNX.

    Returns
    -------
    bytes
        A model with input ``sections`` (N, 1, H, W) and outputs ``prob`` (N, 1, H/g, W/g) and
        ``dist`` (N, n_rays, H/g, W/g), float32, H and W multiples of ``shape.multiple_px``.
    """
    graph = _Graph(weights)
    prob, dist = shape.trace(graph, INPUT_NAME)
    graph.add("Sigmoid", [prob], PROB_NAME)
    graph.add("Identity", [dist], DIST_NAME)
    return graph.serialise(shape.n_rays)


class _Graph:
    """Collects nodes and initialisers."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants = [
            numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"),
        ]

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def convolve(self, layer: str, top: str, channels: int, *, rectify: bool = True) -> str:
        del channels  # those of the kernel
        kernel, bias = self._weights[layer]
        for name, array in ((f"{layer}.kernel", kernel.transpose(3, 2, 0, 1)),
                            (f"{layer}.bias", bias)):  # fmt: skip
            self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        edge = kernel.shape[0]
        before = (edge - 1) // 2
        pads = [before, before, edge - 1 - before, edge - 1 - before]
        out = self.add("Conv", [top, f"{layer}.kernel", f"{layer}.bias"], f"{layer}.sum",
                       kernel_shape=[edge, edge], pads=pads)  # fmt: skip
        return self.add("Relu", [out], f"{layer}.out") if rectify else out

    def pool(self, top: str) -> str:
        return self.add("MaxPool", [top], f"{top}.pooled", kernel_shape=[2, 2], strides=[2, 2])

    def join(self, top: str, skipped: str) -> str:
        wide = self.add(
            "Resize",
            [top, "", "twice"],
            f"{top}.enlarged",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return self.add("Concat", [wide, skipped], f"{wide}.joined", axis=1)

    def serialise(self, n_rays: int) -> bytes:
        def describe(name: str, channels: int, height: str, width: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ["sections", channels, height, width]
            )

        graph = helper.make_graph(
            self._nodes,
            "particle-detector",
            [describe(INPUT_NAME, 1, "height", "width")],
            [
                describe(PROB_NAME, 1, "rows", "columns"),
                describe(DIST_NAME, n_rays, "rows", "columns"),
            ],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="ncm_kedro",
        )
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


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
        If what was requested is not installed.
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
        If bfloat16 is requested where it is not available.
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
    threads
        Threads of one forward pass; None for all cores.

    Returns
    -------
    callable
        Sections to outputs; thread-safe.

    Raises
    ------
    ModelError
        If the runtime rejects the network.
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

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layers = _TorchLayers(weights, device)
    if threads is not None and device.type == "cpu":
        torch.set_num_threads(threads)

    def forward(sections: FloatArray) -> tuple[FloatArray, FloatArray]:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
        ):
            stack = torch.from_numpy(np.ascontiguousarray(sections)).to(device)
            prob, dist = shape.trace(layers, stack.to(memory_format=torch.channels_last))
            prob = torch.sigmoid(prob)
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


class _TorchLayers:
    """Operations on tensors (N, C, H, W)."""

    def __init__(self, weights: Weights, device: Any) -> None:
        import torch

        self._functional = torch.nn.functional
        self._concatenate = torch.cat
        self._layers = {
            name: (
                torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
                .to(memory_format=torch.channels_last)
                .to(device),
                torch.from_numpy(bias.copy()).to(device),
            )
            for name, (kernel, bias) in weights.items()
        }

    def convolve(self, layer: str, top: Any, channels: int, *, rectify: bool = True) -> Any:
        del channels  # those of the kernel
        kernel, bias = self._layers[layer]
        out = self._functional.conv2d(top, kernel, bias, padding=kernel.shape[-1] // 2)
        return self._functional.relu(out, inplace=True) if rectify else out

    def pool(self, top: Any) -> Any:
        return self._functional.max_pool2d(top, 2)

    def join(self, top: Any, skipped: Any) -> Any:
        wide = self._functional.interpolate(top, scale_factor=2)
        return self._concatenate([wide, skipped], 1)
