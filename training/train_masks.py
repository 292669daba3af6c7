"""Train the mask network on a pool made by `mask_pool.py`.

    python training/train_masks.py MASK_POOL HELD_POOL RUN --minutes 40

HELD_POOL is a second pool made from people who are held out (`face_pool.py --held`). A label "this is face" may be
wrong where the photo itself has hair or glasses; pixels in which the network has come to doubt such a label count
less (generalised cross entropy: Zhang and Sabuncu, 2018).
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from augment import Photometric
from face_pool import ROOT
from loop import read_arguments, train
from mask_pool import CLASSES

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging import align

SIZE = 128
GLASSES, HAIR = CLASSES.index("glasses"), CLASSES.index("hair")
MIRRORED = torch.tensor([0, 1, 3, 2, 5, 4, 6, 7, 8, 9, 10, 11])
COVERED = (0, GLASSES, HAIR)
"""Classes that are not face."""


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = block(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class MaskNet(nn.Module):
    """RGB crop in [-1, 1] -> logits of classes at the same size (U-Net: Ronneberger et al., 2015)."""

    def __init__(self, widths: tuple[int, ...] = (24, 40, 72, 112, 144), classes: int = len(CLASSES)) -> None:
        super().__init__()
        counts = (0, 1, *(2 for _ in widths[2:]))
        self.down = nn.ModuleList(
            nn.Sequential(block(a, b, 2), *(Residual(b) for _ in range(count)))
            for a, b, count in zip((3, *widths[:-1]), widths, counts, strict=True)
        )
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, a, 1, bias=False), nn.BatchNorm2d(a)) for a, b in pairwise(widths)
        )
        self.join = nn.ModuleList(Residual(a) for a in widths[:-1])
        self.head = nn.Conv2d(widths[0], classes * 4, 3, 1, 1)

    def forward(self, x: torch.Tensor, fast: bool = False) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            levels = []
            for stage in self.down:
                x = stage(x)
                levels.append(x)
            for k in range(len(self.join) - 1, -1, -1):
                x = F.interpolate(self.reduce[k](x), scale_factor=2.0, mode="nearest")
                x = self.join[k](x + levels[k])
            return F.pixel_shuffle(self.head(x), 2).float()


class Batches:
    """Crops as the renderer cuts them by the mesh, with some error."""

    def __init__(self, pool: Path, batch: int, seed: int) -> None:
        self.images = np.load(pool / "images.npy", mmap_mode="r")
        self.labels = np.load(pool / "labels.npy", mmap_mode="r")
        self.affines = [align.invert(align.mesh_crop(m, SIZE)) for m in np.load(pool / "meshes.npy")]
        self.batch, self.rng = batch, np.random.default_rng(seed)
        self.photometric = Photometric(SIZE, self.rng, has_occluders=False)

    def cut(self, k: int, jitter: float) -> tuple[np.ndarray, np.ndarray]:
        rng, middle = self.rng, (SIZE - 1) / 2
        angle, scale = rng.normal(0, 0.07) * jitter, math.exp(rng.normal(0, 0.06) * jitter)
        c, s = math.cos(angle) * scale, math.sin(angle) * scale
        change = np.array([[c, -s, 0], [s, c, 0]], np.float32)
        change[:, 2] = middle - change[:, :2] @ (middle, middle) + rng.normal(0, 2.5, 2) * jitter
        image_from_crop = align.compose(self.affines[k], change)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels = cv2.warpAffine(
            self.images[k], image_from_crop, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return pixels, cv2.warpAffine(self.labels[k], image_from_crop, (SIZE, SIZE), flags=flags)

    def next(self, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        cuts = [self.cut(int(k), 1.0) for k in self.rng.integers(0, len(self.images), self.batch)]
        x = torch.from_numpy(np.stack([p for p, _ in cuts])[..., ::-1].copy()).permute(0, 3, 1, 2).float().div_(255)
        labels = torch.from_numpy(np.stack([m for _, m in cuts])).long()
        mirrored = torch.from_numpy(self.rng.random(self.batch) < 0.5)
        x[mirrored] = x[mirrored].flip(3)
        labels[mirrored] = MIRRORED[labels[mirrored].flip(2)]
        return self.photometric(x, strength), labels


def visible(logits: torch.Tensor) -> torch.Tensor:
    """(N, S, S) how surely a pixel is uncovered face."""
    return 1 - torch.softmax(logits, dim=1)[:, list(COVERED)].sum(dim=1)


def evaluate(net: nn.Module, pool: Path, count: int = 600) -> dict[str, float]:
    """Intersection over union on held-out people, at the crops the renderer cuts."""
    batches = Batches(pool, 1, 5)
    hits, unions = np.zeros(len(CLASSES)), np.zeros(len(CLASSES))
    seen, covered = np.zeros(2), np.zeros(2)
    for k in range(0, min(count, len(batches.images)), 50):
        cuts = [batches.cut(i, 0.4) for i in range(k, min(k + 50, len(batches.images)))]
        x = torch.from_numpy(np.stack([p for p, _ in cuts])[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            logits = net(x)
        labels = np.stack([m for _, m in cuts])
        found = logits.argmax(dim=1).numpy()
        for c in range(len(CLASSES)):
            hits[c] += ((found == c) & (labels == c)).sum()
            unions[c] += ((found == c) | (labels == c)).sum()
        a, b = visible(logits).numpy() > 0.5, ~np.isin(labels, COVERED)
        seen += [(a & b).sum(), (a | b).sum()]
        # Things before the face: what is drawn inside the outline.
        hull = np.stack([cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((31, 31))) for m in b]) > 0
        covered += [(hull & ~a & ~b).sum(), (hull & (~a | ~b)).sum()]
    figures = {name: hits[c] / max(unions[c], 1) for c, name in enumerate(CLASSES)}
    return {"visible face": seen[0] / seen[1], "things before it": covered[0] / covered[1], **figures}


def read_back(path: Path, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    """Weights of an exported file, to go on from: bytes become numbers, and what was folded into convolutions becomes
    normalisation again, with the statistics that some pictures give.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}

    def number(name: str) -> np.ndarray:
        node = made_by.get(name)
        if node is None:
            return stored[name].astype(np.float32)
        if node.op_type == "Cast":
            return number(node.input[0])
        values, scale = (stored[one].astype(np.float32) for one in node.input[:2])
        zero = stored[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.zeros_like(scale)
        axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
        shape = [-1 if k == axis else 1 for k in range(values.ndim)] if scale.ndim else []
        return (values - zero.reshape(shape)) * scale.reshape(shape)

    found = [[number(name) for name in node.input[1:3]] for node in graph.node if node.op_type == "Conv"]
    net, order = MaskNet().eval(), []
    watched = [one for one in net.modules() if isinstance(one, nn.Conv2d | nn.BatchNorm2d)]
    hooks = [one.register_forward_hook(lambda module, *_: order.append(module)) for one in watched]
    net(pictures[:1])
    for hook in hooks:
        hook.remove()

    def fold_out(bias: np.ndarray):
        def look(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
            mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.copy_(torch.from_numpy(bias) + mean)

        return look

    with torch.no_grad():
        convolutions = [one for one in order if isinstance(one, nn.Conv2d)]
        following = {one: after for one, after in pairwise(order) if isinstance(after, nn.BatchNorm2d)}
        hooks = []
        for convolution, (weight, bias) in zip(convolutions, found, strict=True):
            convolution.weight.copy_(torch.from_numpy(weight))
            if convolution.bias is not None:
                convolution.bias.copy_(torch.from_numpy(bias))
            if convolution in following:
                hooks.append(following[convolution].register_forward_pre_hook(fold_out(bias)))
        net(pictures)
        for hook in hooks:
            hook.remove()
    return net.state_dict()


def main() -> None:
    arguments = read_arguments(__doc__, "the weights of another run, or from an .onnx")
    batches, net = Batches(arguments.pool, arguments.batch, arguments.seed), MaskNet()
    if arguments.start and arguments.start.suffix == ".onnx":
        net.load_state_dict(read_back(arguments.start, Batches(arguments.held, 64, 1).next(0.3)[0]))
    elif arguments.start:
        net.load_state_dict(torch.load(arguments.start)["average"])
    weights = torch.ones(len(CLASSES))
    weights[2:7] = 2.0
    weights[8:] = 2.0
    is_face = torch.tensor([c not in COVERED for c in range(len(CLASSES))])

    def loss_of(net: nn.Module, progress: float, fast: bool) -> torch.Tensor:
        x, labels = batches.next(min(1.0, 1.5 - progress))
        logits = net(x.to(memory_format=torch.channels_last), fast)
        loss_map = F.cross_entropy(logits, labels, weights, reduction="none")
        with torch.no_grad():  # doubt of labels that only say "nothing was drawn here"
            chance = torch.softmax(logits, dim=1)
            face = (chance * is_face[None, :, None, None]).sum(dim=1)
            trust = torch.where(is_face[labels], (face / 0.4).clamp(0.05, 1), torch.ones(()))
            trust = 1 - (1 - trust) * min(1.0, progress * 5)
        return (loss_map * trust).mean()

    train(net, MaskNet(), arguments, loss_of, evaluate, "masks.pt", memory=0.9995)


if __name__ == "__main__":
    main()
