"""Our pipeline against a straightforward loop, with graphs of the size and shape of the community's models.

    python benchmarks/zoo.py [--seconds 10] [--providers cpu]

Weights are random, so the pictures mean nothing; the work is real. The detector's and landmarkers' answers are fixed
to the face of the sample clip, so that both sides have one face in every frame.

The loop does what FaceFusion 3 does per frame with default options and two processors: detector, 68 points, recogniser
and classifier on every frame, swapper and enhancer on every face, each crop cut and pasted on its own, batches of one,
eight threads over sessions with ONNX Runtime's own thread pools. Prints frames/s of both as a ratio within this run,
and the share of our render time that is spent outside ONNX Runtime.

On a CPU with bfloat16: pip uninstall -y onnxruntime && pip install onnxruntime-openvino, then --providers openvino_cpu
--precision half --loop-providers cpu, which is what FaceFusion 3 would run there. On a machine with an NVIDIA card the
same with onnxruntime-gpu and --providers cuda (or tensorrt). --batch gives several frames to a model at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from facefusion.imaging.masks import box_mask
from facefusion.imaging.templates import align_to
from facefusion.jobs.once import run
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter
from facefusion.models.providers import PROVIDERS, provider_options
from facefusion.models.session import Session
from facefusion.models.store import UnknownHashWarning
from facefusion.pipeline.runner import analyse_target
from facefusion.recipe import Recipe, build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.face import Face
from facefusion.types.frame import RenderedFrame

RNG = np.random.default_rng(0)
Layers = list[tuple[int, int]]  # channels, stride


class Builder:
    """A stack of 3 x 3 convolutions that counts its own work."""

    def __init__(self, name: str, size: int, channels: int = 3) -> None:
        self.name, self.size, self.at, self.channels = name, size, "scaled", channels
        self.nodes: list[onnx.NodeProto] = []
        self.inits: list[onnx.TensorProto] = []
        self.work = 0.0

    def constant(self, name: str, value: np.ndarray) -> str:
        self.inits.append(numpy_helper.from_array(value, name))
        return name

    def conv(self, channels: int, stride: int = 1, kernel: int = 3) -> Builder:
        k = len(self.nodes)
        weight = (RNG.standard_normal((channels, self.channels, kernel, kernel)) * 0.03).astype(np.float32)
        self.constant(f"w{k}", weight)
        pad = kernel // 2
        self.nodes.append(helper.make_node("Conv", [self.at, f"w{k}"], [f"c{k}"], strides=[stride] * 2, pads=[pad] * 4))
        self.nodes.append(helper.make_node("Relu", [f"c{k}"], [f"r{k}"]))
        self.size //= stride
        self.work += 2 * kernel**2 * self.channels * channels * self.size**2 / 1e9
        self.at, self.channels = f"r{k}", channels
        return self

    def stack(self, layers: Layers) -> Builder:
        for channels, stride in layers:
            self.conv(channels, stride)
        return self

    def enlarge(self, factor: int) -> Builder:
        k = len(self.nodes)
        self.constant(f"s{k}", np.array([1, 1, factor, factor], np.float32))
        self.nodes.append(helper.make_node("Resize", [self.at, "", f"s{k}"], [f"u{k}"], mode="nearest"))
        self.size *= factor
        self.at = f"u{k}"
        return self

    def nothing(self) -> str:
        """A zero that depends on all that was computed."""
        self.constant("zero", np.float32(0))
        self.nodes.append(helper.make_node("ReduceMax", [self.at], ["some"], keepdims=0))
        self.nodes.append(helper.make_node("Mul", ["some", "zero"], ["nothing"]))
        return "nothing"

    def save(
        self, path: Path, inputs: dict[str, list[int | str]], outputs: dict[str, tuple[str, list[int | str]]]
    ) -> float:
        nodes = [helper.make_node("Identity", [next(reversed(inputs))], ["scaled"]), *self.nodes]
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
        for name, (source, _) in outputs.items():
            nodes.append(helper.make_node("Identity", [source], [name]))
        results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, (_, s) in outputs.items()]
        graph = helper.make_graph(nodes, self.name, values, results, self.inits)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return self.work


def answer(builder: Builder, name: str, value: np.ndarray) -> tuple[str, list[int]]:
    """A fixed answer that waits for the work."""
    if "nothing" not in [o for node in builder.nodes for o in node.output]:
        builder.nothing()
    builder.constant(f"{name}_fixed", value.astype(np.float32))
    builder.nodes.append(helper.make_node("Add", [f"{name}_fixed", "nothing"], [f"{name}_out"]))
    return f"{name}_out", list(value.shape)


def build_zoo(folder: Path, face: Face, width: int, height: int) -> dict[str, float]:
    """Graphs under the names of the real files; GFLOP of each."""
    work = {}
    # yolo_face, 640: about 8 GFLOP
    scale = min(640 / width, 640 / height, 1.0)
    x0, y0, x1, y1 = face.box * scale
    table = np.zeros((1, 20, 8400), np.float32)
    table[0, :5, 0] = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, 0.9]
    table[0, 5:, 0] = np.concatenate([[*(p * scale), 1.0] for p in face.five_points])
    b = Builder("yolo", 640).stack([(16, 2), (32, 2), (48, 1), (48, 1), (80, 2), (96, 1), (96, 1), (144, 2), (160, 1)])
    b.stack([(160, 1), (256, 2), (256, 1)])
    work["yoloface_8n"] = b.save(
        folder / "yoloface_8n.onnx", {"input": [1, 3, 640, 640]}, {"output0": answer(b, "table", table)}
    )
    # 2dfan4: about 27 GFLOP
    b = Builder("fan", 256).stack([(64, 2), (128, 2)] + [(192, 1)] * 9 + [(256, 2)] + [(256, 1)] * 5)
    points = np.zeros((1, 68, 3), np.float32)
    box = face.box
    crop_scale = 195 / (box[2:] - box[:2]).max()
    points[0, :, :2] = ((face.points_68 - (box[:2] + box[2:]) / 2) * crop_scale + 128) / 4
    outputs = {"landmarks": answer(b, "points", points), "heatmaps": answer(b, "heat", np.ones((1, 68, 64, 64)))}
    work["2dfan4"] = b.save(folder / "2dfan4.onnx", {"input": [1, 3, 256, 256]}, outputs)
    # arcface r50: about 12.6 GFLOP
    b = Builder("arcface", 112).stack([(64, 1)] * 2 + [(128, 2)] + [(128, 1)] * 3 + [(256, 2)] + [(256, 1)] * 5)
    b.stack([(512, 2)] + [(512, 1)] * 2)
    work["arcface_w600k_r50"] = b.save(
        folder / "arcface_w600k_r50.onnx",
        {"input": [1, 3, 112, 112]},
        {"output": answer(b, "embedding", RNG.standard_normal((1, 512)))},
    )
    # fairface, a ResNet-34: about 7 GFLOP
    b = Builder("fairface", 224).stack(
        [(64, 4)] + [(64, 1)] * 6 + [(128, 2)] + [(128, 1)] * 7 + [(256, 2)] + [(256, 1)] * 11
    )
    outputs = {k: answer(b, k, np.zeros(1)) for k in ("race", "gender", "age")}
    work["fairface"] = b.save(folder / "fairface.onnx", {"input": [1, 3, 224, 224]}, outputs)
    # a swapper at 256: about 50 GFLOP
    b = Builder("swapper", 256).stack([(64, 1), (128, 2), (256, 2)] + [(256, 1)] * 7).enlarge(2).conv(128)
    b.enlarge(2).conv(48).conv(3)
    b.constant("spread", np.zeros((512, 3), np.float32))
    b.constant("tall", np.array([-1, 3, 1, 1], np.int64))
    b.nodes += [
        helper.make_node("MatMul", ["source", "spread"], ["colour"]),
        helper.make_node("Reshape", ["colour", "tall"], ["tint"]),
        helper.make_node("Add", [b.at, "tint"], ["tinted"]),
    ]
    work["hyperswap_1a_256"] = b.save(
        folder / "hyperswap_1a_256.onnx",
        {"source": [1, 512], "target": [1, 3, 256, 256]},
        {"output": ("tinted", [1, 3, 256, 256])},
    )
    # GFPGAN at 512: about 50 GFLOP
    b = Builder("gfpgan", 512).stack([(32, 2), (64, 2), (128, 2)] + [(256, 1)] * 6).enlarge(2).conv(128).enlarge(2)
    b.conv(48).enlarge(2).conv(12).conv(3)
    work["gfpgan_1.4"] = b.save(
        folder / "gfpgan_1.4.onnx", {"input": [1, 3, 512, 512]}, {"output": (b.at, [1, 3, 512, 512])}
    )
    return work


class Loop:
    """What FaceFusion 3 does per frame, written down plainly."""

    def __init__(self, folder: Path, face: Face, providers: list[str]) -> None:
        names = ("yoloface_8n", "2dfan4", "arcface_w600k_r50", "fairface", "hyperswap_1a_256", "gfpgan_1.4")
        # As FaceFusion sets them; OpenVINO it knows on GPUs only.
        full = [(PROVIDERS[name], provider_options(name, 0, thread_count=8)) for name in providers]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.models = {
            name: onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=full) for name in names
        }
        self.lock = threading.Lock()  # its one semaphore over detectors and enhancers
        self.face = face

    def run(self, name: str, tensor: np.ndarray, **more: np.ndarray) -> list[np.ndarray]:
        session = self.models[name]
        first = session.get_inputs()[-1].name
        return session.run(None, {first: tensor, **more})

    def crop(self, pixels: np.ndarray, points: np.ndarray, template: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        affine = align_to(points, template, size)
        return cv2.warpAffine(pixels, affine, (size, size), borderMode=cv2.BORDER_REPLICATE), affine

    @staticmethod
    def tensor(crop: np.ndarray, mean: float = 0.5, std: float = 0.5) -> np.ndarray:
        return ((crop.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)

    def paste(self, frame: np.ndarray, crop: np.ndarray, affine: np.ndarray) -> np.ndarray:
        h, w = frame.shape[:2]
        mask = box_mask(crop.shape[0], crop.shape[1], 0.3, (0, 0, 0, 0))
        inverse = cv2.invertAffineTransform(affine)
        back = cv2.warpAffine(crop, inverse, (w, h), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        alpha = cv2.warpAffine(mask, inverse, (w, h))[..., None]
        return (frame * (1 - alpha) + back * alpha).astype(np.uint8)

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        canvas = np.zeros((640, 640, 3), np.uint8)
        scale = min(640 / pixels.shape[1], 640 / pixels.shape[0], 1.0)
        small = cv2.resize(pixels, None, fx=scale, fy=scale)
        canvas[: small.shape[0], : small.shape[1]] = small
        with self.lock:
            self.run("yoloface_8n", self.tensor(canvas, 0, 1))
        points = self.face.five_points
        self.run("2dfan4", self.tensor(self.crop(pixels, points, "ffhq_512", 256)[0], 0, 1))
        embedding = self.run("arcface_w600k_r50", self.tensor(self.crop(pixels, points, "arcface_112_v2", 112)[0]))[0]
        self.run("fairface", self.tensor(self.crop(pixels, points, "arcface_112_v2", 224)[0]))
        crop, affine = self.crop(pixels, points, "arcface_128", 256)
        swapped = self.run("hyperswap_1a_256", self.tensor(crop), source=embedding)[0][0]
        changed = np.clip((swapped.transpose(1, 2, 0) * 0.5 + 0.5) * 255, 0, 255).astype(np.uint8)
        pixels = self.paste(pixels, changed, affine)
        crop, affine = self.crop(pixels, points, "ffhq_512", 512)
        with self.lock:
            restored = self.run("gfpgan_1.4", self.tensor(crop))[0][0]
        restored = np.clip((restored.transpose(1, 2, 0) * 0.5 + 0.5) * 255, 0, 255).astype(np.uint8)
        return cv2.addWeighted(pixels, 0.2, self.paste(pixels, restored, affine), 0.8, 0)

    def clip(self, target: Path, output: Path, seconds: float) -> int:
        reader = ClipReader(target, end_s=seconds)
        count = 0
        with ThreadPoolExecutor(8) as pool, ClipWriter(output, reader) as writer:
            frames = list(reader)  # it submits every frame of the clip at once
            for frame, pixels in zip(frames, pool.map(lambda f: self.frame(f.pixels), frames), strict=True):
                h, w = pixels.shape[:2]
                writer.write(RenderedFrame(frame, pixels, (0, 0, w, h)))
                count += 1
        return count


class Meter:
    """Wall time inside ONNX Runtime, by model, summed over threads."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.lock = threading.Lock()

    def install(self) -> None:
        original = Session.run

        def timed(session: Session, inputs):  # type: ignore[no-untyped-def]
            began = time.perf_counter()
            result = original(session, inputs)
            with self.lock:
                self.spent[session.spec.id] += time.perf_counter() - began
                self.calls[session.spec.id] += 1
            return result

        Session.run = timed  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--providers", nargs="+", default=["cpu"])
    parser.add_argument("--loop-providers", nargs="+", help="of the loop; those of ours where it is not given")
    parser.add_argument("--precision", default="model", choices=("model", "half"), help="of our side")
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UnknownHashWarning)
    clip, photo = sample_path("target.mp4"), sample_path("source.jpg")
    with tempfile.TemporaryDirectory(prefix="facefusion-zoo-") as name:
        folder = Path(name)
        os.environ["XDG_DATA_HOME"] = name
        target = lengthen(clip, folder / "target.mp4", arguments.seconds)
        tracks = analyse_target(Recipe(target_path=clip, end_s=0.1))
        face = tracks.tracks[0].face(0)
        work = build_zoo(folder, face, tracks.width, tracks.height)
        print("GFLOP a call: " + ", ".join(f"{k} {v:.1f}" for k, v in work.items()), flush=True)

        meter = Meter()
        meter.install()
        recipe = build_recipe(
            {
                "source_paths": [photo], "target_path": target, "output_path": folder / "ours.mp4",
                "processors": ["face_swapper", "face_enhancer"], "face_swapper_model": "hyperswap_1a_256",
                "face_detector_model": "yolo_face", "models_paths": [name], "licences": "any",
                "execution_providers": arguments.providers, "execution_precision": arguments.precision,
                "execution_batch_size": arguments.batch,
            }
        )  # fmt: skip
        outcome = run(recipe)
        ours = outcome.frames_per_s
        total = outcome.analyse_s + outcome.render_s
        inside = sum(meter.spent.values())
        print(f"ours      {ours:7.2f} frames/s ({outcome.frame_count} frames, analyse {outcome.analyse_s:.1f} s, "
              f"render {outcome.render_s:.1f} s)", flush=True)  # fmt: skip
        for model, spent in meter.spent.items():
            print(f"  {model:<28}{meter.calls[model]:5d} calls  {spent / meter.calls[model] * 1000:8.1f} ms each")

        loop = Loop(folder, face, arguments.loop_providers or arguments.providers)
        began = time.perf_counter()
        count = loop.clip(target, folder / "loop.mp4", arguments.seconds)
        theirs = count / (time.perf_counter() - began)
        print(f"loop      {theirs:7.2f} frames/s ({count} frames)")
        print(f"ratio     {ours / theirs:7.2f}   (goal 3)")
        threads = recipe.execution_thread_count or os.cpu_count() or 1
        per_thread = inside / min(threads, os.cpu_count() or 1)
        print(
            f"outside ONNX Runtime {max(1 - per_thread / total, 0):.0%} of the time of {threads} threads   (goal 15 %)"
        )
        alone = 1 / max(sum(meter.spent[m] for m in ("hyperswap_1a_256", "gfpgan_1.4")) / count / threads, 1e-9)
        print(f"frames/s over what swapper and enhancer alone allow: {ours / alone:.2f}")


def lengthen(clip: Path, output: Path, seconds: float) -> Path:
    """The sample clip repeated until it is long enough."""
    first = list(ClipReader(clip))
    reader = ClipReader(clip)
    step = first[1].pts - first[0].pts
    wanted = int(seconds / float(step * first[0].time_base))
    with ClipWriter(output, reader) as writer:
        for k in range(wanted):
            # There and back again, so that nothing jumps.
            period = 2 * len(first) - 2
            at = k % period
            frame = first[at if at < len(first) else period - at]
            writer.write(RenderedFrame(dataclasses.replace(frame, index=k, pts=first[0].pts + k * step)))
    return output


if __name__ == "__main__":
    main()
