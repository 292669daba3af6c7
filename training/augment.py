"""Light, colour, noise and cover for training pictures, on whole batches; shared by all trainings."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Photometric:
    """Changes how pictures look, not where anything is."""

    def __init__(self, size: int, rng: np.random.Generator, has_occluders: bool = True) -> None:
        self.size, self.rng, self.has_occluders = size, rng, has_occluders
        at = torch.arange(size) - (size - 1) / 2
        y, x = torch.meshgrid(at, at, indexing="ij")
        self.offsets = torch.stack([x, y], dim=-1).float()

    def _normal(self, spread: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy((self.rng.standard_normal(shape) * spread).astype(np.float32))

    def _uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(self.rng.uniform(low, high, shape).astype(np.float32))

    def __call__(self, x: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
        """(N, 3, S, S) RGB from 0 to 1, changed in place; back it comes from -1 to 1."""
        n, rng = len(x), self.rng
        pick = lambda share: np.flatnonzero(rng.random(n) < share * strength)  # noqa: E731
        for k in pick(0.3 if self.has_occluders else 0.0):  # a flat or borrowed patch
            w, h = (int(v) for v in rng.integers(10, self.size // 2.4, 2))
            left, top = (int(v) for v in rng.integers(-10, self.size - 10, 2))
            left, top = max(left, 0), max(top, 0)
            patch = x[k, :, top : top + h, left : left + w]
            if rng.random() < 0.5:
                patch.copy_(torch.from_numpy(rng.random((3, 1, 1)).astype(np.float32)).expand_as(patch))
            else:
                other = x[int(rng.integers(n))]
                y0, x0 = (int(rng.integers(0, self.size - m + 1)) for m in patch.shape[1:])
                patch.copy_(other[:, y0 : y0 + patch.shape[1], x0 : x0 + patch.shape[2]].clone())
        low = pick(0.3)
        if len(low):
            small = int(rng.integers(26, 90))
            shrunk = F.interpolate(x[low], size=(small, small), mode="bilinear", antialias=True)
            x[low] = F.interpolate(shrunk, size=(self.size, self.size), mode="bilinear", align_corners=False)
        lit = pick(0.4)
        if len(lit):
            angle = self._uniform(0, 2 * math.pi, len(lit), 1, 1)
            ramp = (self.offsets[None, ..., 0] * angle.cos() + self.offsets[None, ..., 1] * angle.sin()) / (
                self.size / 2
            )
            x[lit] *= 1 + ramp[:, None] * self._uniform(0, 0.8, len(lit), 1, 1, 1)
        gamma = torch.exp(self._normal(0.22, n, 1, 1, 1))
        gain = self._uniform(0.55, 1.4, n, 1, 1, 1) * self._uniform(0.86, 1.14, n, 3, 1, 1)
        x = x.clamp_(1e-4, 1.0).pow(gamma) * gain + self._uniform(-0.1, 0.1, n, 1, 1, 1)
        grey = pick(0.12)
        if len(grey):
            x[grey] = x[grey].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        noisy = pick(0.25)
        if len(noisy):
            x[noisy] += torch.randn(len(noisy), 3, self.size, self.size) * self._uniform(
                0.01, 0.06, len(noisy), 1, 1, 1
            )
        x = x.clamp_(0, 1)
        for k in pick(0.12):
            pixels = (x[k].permute(1, 2, 0) * 255).byte().numpy()
            _, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])
            x[k] = torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_COLOR)).permute(2, 0, 1).float() / 255
        return x.mul_(2).sub_(1)


def multiplies_bfloat16() -> bool:
    """True where the processor has bfloat16 instructions; elsewhere bfloat16 is slower than float32."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def update_average(average: dict[str, torch.Tensor], net: nn.Module, decay: float) -> None:
    """Move averaged weights towards the present ones; counters are copied."""
    state = net.state_dict()
    moving = [key for key, value in state.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_([average[key] for key in moving], [state[key] for key in moving], 1 - decay)
    for key in state.keys() - moving:
        average[key].copy_(state[key])
