"""Any face detector of the YOLO family as an ONNX file of the user's, run by onnxruntime on the CPU."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.detection import Assets, DetectConfig, Hit, Sight, search_scale, shrink, without_overlaps

MIN_SCORE = 0.35
SIDE = 640  # px of the input where the network takes any
STRIDE = 32  # px that the sides of the input are multiples of, then
WINDOW = 20  # px of the smallest face in the search
GREY = 114  # around the picture, as these networks are trained

Rows = NDArray[np.float32]  # x0, y0, x1, y1, score; px of the network's input; [N, 5]


def yolo(sight: Sight, config: DetectConfig, assets: Assets) -> list[Hit]:
    """Faces by the network config.model, the surest of those that overlap."""
    network, least = _network(str(assets[config.model])), MIN_SCORE if config.min_score is None else config.min_score
    side = _input_side(network) or config.max_side or SIDE
    scale = min(search_scale(sight.size, config, WINDOW), side / max(sight.size))
    canvas, scale = _letterbox(sight, scale, _input_side(network))
    found = boxes_of(network.run(None, {network.get_inputs()[0].name: canvas})[0])
    hits = [
        Hit(float(x0) / scale, float(y0) / scale, float(x1 - x0) / scale, float(y1 - y0) / scale, round(float(s), 4))
        for x0, y0, x1, y1, s in found[found[:, 4] >= least]
    ]
    return without_overlaps([hit for hit in hits if max(hit.width, hit.height) >= config.min_size], config.max_overlap)


def boxes_of(output: NDArray[Any]) -> Rows:
    """The boxes in what such a network answers, by its shape.

    [N, 6] or [N, 5]: corners and score, chosen already. [1, 4 + C, N] (YOLOv8): centre, size, a score for each class,
    of which the highest counts. [1, N, 5]: centre, size, score. [1, N, 6] (YOLOv5): centre, size, score, its class's.
    Raises ValueError for any other shape.
    """
    rows = np.asarray(output, np.float32)
    if rows.ndim == 2 and rows.shape[1] in (5, 6):
        return rows[:, :5]
    if rows.ndim != 3 or rows.shape[0] != 1 or not (rows.shape[2] in (5, 6) or rows.shape[1] >= 5):
        raise ValueError(f"no boxes in an output of shape {rows.shape}: {_SHAPES}")
    if rows.shape[2] in (5, 6):
        rows = rows[0]
        score = rows[:, 4:].prod(axis=1)
    else:
        rows = rows[0].T
        score = rows[:, 4:].max(axis=1)
    half = rows[:, 2:4] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half, score[:, None]], axis=1)


_SHAPES = "expected [N, 5 or 6], [1, N, 5 or 6] or [1, 4 + classes, N]"


def _letterbox(sight: Sight, scale: float, side: int) -> tuple[NDArray[np.float32], float]:
    """What is seen at `scale` in the upper left of an input [1, 3, H, W] of 0..1, and the scale that it has."""
    small = shrink(sight, scale)
    height, width = small.image.shape[:2]
    assert not side or max(height, width) <= side, "the scale was chosen to fit"
    shape = (side, side) if side else tuple(-(-length // STRIDE) * STRIDE for length in (height, width))
    canvas = cv2.copyMakeBorder(
        small.image, 0, shape[0] - height, 0, shape[1] - width, cv2.BORDER_CONSTANT, value=(GREY, GREY, GREY)
    )
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255), small.scale


def _input_side(network: Any) -> int:
    """The side of a network's square input, 0 where it takes any."""
    height, width = network.get_inputs()[0].shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        return 0
    if height != width:
        raise ValueError(f"the network takes {width} x {height} px: expected a square, or any size")
    return height


@functools.cache
def _network(path: str) -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped]
        from onnxruntime.capi import onnxruntime_pybind11_state as state  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:  # the other detectors do without it
        raise ValueError("detector onnx needs onnxruntime: pip install 'stylegan-flows[onnx]'") from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"no network at {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the workers are the threads
    try:
        network = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
    ) as error:
        raise ValueError(f"{path} is no network that onnxruntime reads: {error}") from error
    if len(network.get_inputs()) != 1 or len(network.get_inputs()[0].shape) != 4:
        raise ValueError(f"{path} must take one input [1, 3, H, W]")
    return network
