"""Networks in ncnn's files with random weights: CUNet as waifu2x has it, and small graphs of one kind of layer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from imaging.waifu2x import NetworkFiles

SLOPE = "-23310=1,1036831949"  # 0.1 as nihui's own tool wrote it: the bits of a float as a whole number
LEAKY = f"9=2 {SLOPE}"


class Graph:
    """Collects layers; a blob that is read more than once is split when the files are written."""

    def __init__(self, seed: int = 0, halves: bool = True) -> None:
        self.rows: list[tuple[str, str, list[str], str]] = [("Input", "input", [], "")]
        self.channels = {"input": 3}
        self.random, self.halves, self.data = np.random.default_rng(seed), halves, b""

    def add(self, kind: str, inputs: list[str], channels: int, words: str = "") -> str:
        name = f"{kind}{len(self.rows)}"
        self.rows.append((kind, name, inputs, words))
        self.channels[name] = channels
        return name

    def conv(self, source: str, out: int, side: int, stride: int = 1, act: str = LEAKY, up: bool = False) -> str:
        fan = self.channels[source] * side * side / (stride * stride if up else 1)
        self._weights(self.channels[source] * out * side * side, fan * (9 if out == 3 else 1), out)
        words = f"0={out} 1={side} 3={stride} 5=1 6={self.channels[source] * out * side * side} {act}"
        pad = " 4=3" if up and side == 4 else ""
        return self.add("Deconvolution" if up else "Convolution", [source], out, words + pad)

    def dense(self, source: str, out: int, act: int) -> str:
        self._weights(self.channels[source] * out, self.channels[source], out)
        words = f"0={out} 1=1 2={self.channels[source] * out} 9={act}"
        return self.add("InnerProduct", [source], out, words)

    def squeeze(self, source: str, inner: int) -> str:
        """A channel's weight from the whole image, as squeeze-and-excitation has it."""
        pooled = self.add("Pooling", [source], self.channels[source], "0=1 4=1")
        factors = self.dense(self.dense(pooled, inner, 1), self.channels[source], 4)
        return self.add("Scale", [source, factors], self.channels[source], "0=-233")

    def crop_add(self, large: str, small: str, border: int) -> str:
        part = self.add("Crop", [large, small], self.channels[large], f"0={border} 1={border}")
        return self.add("Eltwise", [part, small], self.channels[small], "0=1")

    def write(self, folder: Path, name: str) -> NetworkFiles:
        folder.mkdir(parents=True, exist_ok=True)
        files = NetworkFiles(folder / f"{name}.param", folder / f"{name}.bin")
        files.param.write_text(self._text())
        files.weights.write_bytes(self.data)
        return files

    def _weights(self, count: int, fan: float, out: int) -> None:
        kernel = self.random.normal(0, math.sqrt(1.6 / fan), count)
        if self.halves:
            raw = kernel.astype("<f2").tobytes()
            self.data += (0x01306B47).to_bytes(4, "little") + raw + bytes(-len(raw) % 4)
        else:
            self.data += bytes(4) + kernel.astype("<f4").tobytes()
        self.data += self.random.normal(0.25 if out == 3 else 0.02, 0.02, out).astype("<f4").tobytes()

    def _text(self) -> str:
        lines: list[str] = []
        readers = {name: [row[1] for row in self.rows if name in row[2]] for _, name, _, _ in self.rows}
        for kind, name, inputs, words in self.rows:
            blobs = [f"{one}_for_{name}" if len(readers[one]) > 1 else one for one in inputs]
            lines.append(f"{kind} {name} {len(blobs)} 1 {' '.join([*blobs, name])} {words}")
            if len(readers[name]) > 1:
                parts = " ".join(f"{name}_for_{reader}" for reader in readers[name])
                lines.append(f"Split split_{name} 1 {len(readers[name])} {name} {parts}")
        num_blobs = sum(int(line.split()[3]) for line in lines)
        return f"7767517\n{len(lines)} {num_blobs}\n" + "\n".join(lines) + "\n"


def cunet(scale: int, seed: int = 0) -> Graph:
    """CUNet of nagadomi's waifu2x: two U-Nets, the second one twice as deep, each with squeeze-and-excitation."""
    graph = Graph(seed)
    first = graph.conv(graph.conv("input", 32, 3), 64, 3)
    inner = graph.conv(graph.conv(graph.conv(first, 64, 2, 2), 128, 3), 64, 3)
    outer = graph.conv(graph.squeeze(inner, 8), 64, 2, 2, up=True)
    joined = graph.conv(graph.crop_add(first, outer, 4), 64, 3)
    base = graph.conv(joined, 3, 4, 2, "", up=True) if scale == 2 else graph.conv(joined, 3, 3, 1, "")
    top = graph.conv(graph.conv(base, 32, 3), 64, 3)
    middle = graph.squeeze(graph.conv(graph.conv(graph.conv(top, 64, 2, 2), 64, 3), 128, 3), 16)
    deep = graph.squeeze(graph.conv(graph.conv(graph.conv(middle, 128, 2, 2), 256, 3), 128, 3), 16)
    back = graph.crop_add(middle, graph.conv(deep, 128, 2, 2, up=True), 4)
    wide = graph.squeeze(graph.conv(graph.conv(back, 64, 3), 64, 3), 8)
    last = graph.conv(graph.crop_add(top, graph.conv(wide, 64, 2, 2, up=True), 16), 64, 3)
    graph.crop_add(base, graph.conv(last, 3, 3, 1, ""), 20)
    return graph


def upconv7(seed: int = 0) -> Graph:
    """UpConv7 of nagadomi's waifu2x."""
    graph, blob = Graph(seed), "input"
    for channels in (16, 32, 64, 128, 128, 256):
        blob = graph.conv(blob, channels, 3)
    graph.conv(blob, 3, 4, 2, "", up=True)
    return graph
