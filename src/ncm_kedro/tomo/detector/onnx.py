"""The star-convex network as an ONNX graph, written from its weights without TensorFlow."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ncm_kedro.tomo.detector.files import NetworkShape, Weights

INPUT_NAME = "sections"
PROB_NAME = "prob"
DIST_NAME = "dist"

_OPSET = 18
_IR_VERSION = 9


def build_onnx(shape: NetworkShape, weights: Weights) -> bytes:
    """Write the network as ONNX.

    Parameters
    ----------
    shape
        What the network looks like.
    weights
        Kernel and bias of each layer.

    Returns
    -------
    bytes
        A model with input ``sections`` (N, 1, H, W) and outputs ``prob`` (N, 1, H/g, W/g) and
        ``dist`` (N, n_rays, H/g, W/g), float32, H and W multiples of ``shape.multiple_px``.
    """
    graph = _Graph(weights)
    top = INPUT_NAME
    for level in range(shape.grid_px.bit_length() - 1):
        for number in range(shape.convolutions):
            top = graph.convolve(f"grid_level_{level}_no_{number}", top)
        top = graph.pool(top)
    top = _add_unet(graph, shape, top)
    if shape.features:
        top = graph.convolve("features", top)
    graph.add("Sigmoid", [graph.convolve("prob", top, rectify=False)], PROB_NAME)
    graph.add("Identity", [graph.convolve("dist", top, rectify=False)], DIST_NAME)
    return graph.serialise(shape.n_rays)


def _add_unet(graph: _Graph, shape: NetworkShape, top: str) -> str:
    skipped = []
    for level in range(shape.depth):
        for number in range(shape.convolutions):
            top = graph.convolve(f"down_level_{level}_no_{number}", top)
        skipped.append(top)
        top = graph.pool(top)
    for number in (*range(shape.convolutions - 1), shape.convolutions):
        top = graph.convolve(f"middle_{number}", top)
    for level in reversed(range(shape.depth)):
        top = graph.join(graph.enlarge(top), skipped[level])
        for number in (*range(shape.convolutions - 1), shape.convolutions):
            top = graph.convolve(f"up_level_{level}_no_{number}", top)
    return top


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

    def convolve(self, layer: str, top: str, *, rectify: bool = True) -> str:
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

    def enlarge(self, top: str) -> str:
        return self.add(
            "Resize",
            [top, "", "twice"],
            f"{top}.enlarged",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def join(self, top: str, skipped: str) -> str:
        return self.add("Concat", [top, skipped], f"{top}.joined", axis=1)

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
