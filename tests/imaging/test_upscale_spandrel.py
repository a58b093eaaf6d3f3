"""Networks of others through spandrel, an extra that brings torchvision: compared with the network itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from imaging.resample import resample
from imaging.upscale import UpscaleConfig, upscale

HERE = importlib.util.find_spec("spandrel") is not None and importlib.util.find_spec("torchvision") is not None


@pytest.mark.skipif(HERE, reason="spandrel is installed")
def test_without_the_package_the_manifest_is_refused_with_what_to_install() -> None:
    with pytest.raises(ValueError, match=r"pip install 'stylegan-flows\[spandrel\]'"):
        UpscaleConfig(upscaler="spandrel", networks="net.pth", backend="torch").settled()


@pytest.mark.skipif(not HERE, reason="spandrel or its torchvision is not installed")
def test_a_network_read_by_spandrel_is_applied_until_the_size_is_reached(tmp_path: Path) -> None:
    architecture = pytest.importorskip("spandrel.architectures.Compact.__arch.SRVGG").SRVGGNetCompact
    torch.manual_seed(0)
    network = architecture(num_in_ch=3, num_out_ch=3, num_feat=16, num_conv=3, upscale=2, act_type="prelu").eval()
    torch.save(network.state_dict(), tmp_path / "net.pth")
    config = UpscaleConfig(upscaler="spandrel", networks=str(tmp_path / "net.pth"), backend="torch").settled()
    image = np.random.default_rng(0).integers(0, 256, (33, 33, 3), np.uint8)
    expected = image
    with torch.inference_mode():
        for _ in range(2):
            values = torch.from_numpy(expected).permute(2, 0, 1)[None].float() / 255
            made = network(values)[0].clamp(0, 1).mul(255).round().to(torch.uint8)
            expected = np.ascontiguousarray(made.permute(1, 2, 0).numpy())
    found = upscale(image, 100, config, (tmp_path / "net.pth",))
    np.testing.assert_array_equal(found, resample(expected, 100))
