"""Generators as ONNX: latents, psi and labels in, images out, for programs without torch (https://onnx.ai)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.architectures import Generator
from stylegan.model import Model

OPSET = 18
NEEDED = ("onnx", "onnxscript")


class Sampler(nn.Module):
    """From z [N, z_dim], psi [] and labels [N, num_labels] to images, in one forward."""

    def __init__(self, G: Generator) -> None:
        super().__init__()
        self.G = G

    def forward(self, z: Tensor, psi: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] about [-1, 1], with the fixed noise."""
        w = self.G.mapping(z, labels)
        # One psi for every layer: the graph then holds no choice that depends on its value.
        return self.G.synthesis(self.G.mapping.truncate(w, psi.expand(self.G.num_ws)))


def _hypot(x: Any, y: Any) -> Any:
    """sqrt(x^2 + y^2) in ONNX's operators, which have none by that name; StyleGAN3 turns its waves by it."""
    from onnxscript import opset18

    return opset18.Sqrt(opset18.Add(opset18.Mul(x, x), opset18.Mul(y, y)))


def _avg_pool2d(
    x: Any,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Average pooling; torch's own translation forgets divisor_override, by which StyleGAN1 makes sums of means."""
    from onnxscript import opset18

    height, width = _pair(kernel_size)
    pooled = opset18.AveragePool(
        x,
        kernel_shape=[height, width],
        strides=_pair(stride or kernel_size),
        pads=_pair(padding) * 2,
        ceil_mode=int(ceil_mode),
        count_include_pad=int(count_include_pad),
    )
    return pooled if divisor_override is None else opset18.Mul(pooled, height * width / divisor_override)


def _pair(values: Sequence[int]) -> list[int]:
    return [values[0], values[-1]]


def write_onnx(model: Model, path: Path) -> None:
    """Write the generator as an ONNX file with the inputs z, psi and, where the model has labels, labels.

    The number of images is free. The file is whole by itself and appears whole or not at all.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {' and '.join(missing)}: pip install 'stylegan-flows[onnx]'")
    batch = torch.export.Dim("batch")
    inputs: dict[str, Tensor] = {"z": torch.randn(2, model.z_dim), "psi": torch.tensor(0.7)}
    shapes: dict[str, dict[int, torch.export.Dim] | None] = {"z": {0: batch}, "psi": None}
    if model.num_labels:
        inputs["labels"] = torch.eye(model.num_labels)[[0, 0]]
        shapes["labels"] = {0: batch}
    temporary = path.with_name(f".{path.name}.part")
    with torch.no_grad():
        # Strict, so that the number of images stays free where a network takes the len() of a tensor.
        graph = torch.export.export(
            Sampler(model.to("cpu").G).eval(), (), kwargs=inputs, dynamic_shapes=shapes, strict=True
        )
        program = torch.onnx.export(
            graph,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["images"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=shapes,  # gives the free number its name
            custom_translation_table={
                torch.ops.prims.hypot.default: _hypot,
                torch.ops.aten.avg_pool2d.default: _avg_pool2d,
            },
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.save(temporary, external_data=False)
    temporary.replace(path)
