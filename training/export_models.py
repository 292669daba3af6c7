"""Write the trained networks as ONNX files with their catalogue entries.

    python training/export_models.py mesh RUN/mesh.pt FACEPACK MEDIA --note "..."
    python training/export_models.py features RUN/features.pt HELD_FEATURE_POOL --note "..."
    python training/export_models.py detector RUN/detector.pt FACEPACK MEDIA --note "..."
    python training/export_models.py identity RUN/identity.pt IDENTITY_POOL --note "..."
    python training/export_models.py fusion RUN/fusion.pt HELD_FUSION_POOL FUSION_POOL --note "..."
    python training/export_models.py masks RUN/masks.pt HELD_MASK_POOL MASK_POOL --note "..."
    python training/export_models.py glasses RUN/glasses.pt HELD_GLASSES_POOL --note "..."
    python training/export_models.py appearance RUN/appearance.pt APPEARANCE_POOL.npz --note "..."
    python training/export_models.py verifier RUN/verifier.pt VERIFIER_POOL MEDIA --note "..."

Weights are stored as float16 and computed in float32; those of masks and fusion are bytes, and so are their products. The held-out figures in the catalogue entry are
measured on the exported file by ONNX Runtime, not copied from the training log.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import nn
from torch.nn import functional as F

from face_pool import ROOT

EMBEDDED = ROOT / "src/facefusion/models/embedded"
CARDS = ROOT / "docs/models"
CATALOG = ROOT / "src/facefusion/models/catalog"


class MeshHead(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points, score = self.net(image)
        return points, torch.sigmoid(score)


class DetectorHead(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heat, sizes, points = self.net(image)
        return torch.sigmoid(heat), sizes, points


def store_half(path: Path) -> None:
    """Keep large weights as float16 with a cast in front of their first use."""
    model = onnx.load(path)
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 256:
            continue
        name = tensor.name
        half = numpy_helper.from_array(values.astype(np.float16), name + "_half")
        graph.initializer.remove(tensor)
        graph.initializer.append(half)
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class Feeds(CalibrationDataReader):
    """Inputs of a network, one after the other."""

    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def store_bytes(path: Path, feeds: Iterable[dict[str, np.ndarray]], is_kept: Callable[[str], bool]) -> None:
    """Compute convolutions in bytes, between 2 and 3 times as fast; ranges come from pictures of the training set.

    Weights take seven bits, for processors whose byte products saturate. Nodes that are kept stay as they are.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    joined = path.with_suffix(".joined.onnx")
    options.optimized_model_filepath = str(joined)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kept = [node.name for node in onnx.load(joined).graph.node if is_kept(node.name)]
    quantize_static(
        joined, path, Feeds(feeds), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["Conv", "Add", "Relu"],
        nodes_to_exclude=kept, calibrate_method=CalibrationMethod.MinMax,
    )  # fmt: skip
    joined.unlink()


def export(
    module: nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    path: Path,
    outputs: list[str],
    free: dict[str, dict[int, str]],
    store: Callable[[Path], None] = store_half,
    inputs: Sequence[str] = ("image",),
) -> None:
    module.eval()
    torch.onnx.export(
        module,
        example if isinstance(example, tuple) else (example,),
        str(path),
        input_names=list(inputs),
        output_names=outputs,
        dynamic_axes=free,
        opset_version=17,
        dynamo=False,
    )
    store(path)


class OnnxNet(nn.Module):
    """An exported file behind the interface of the network it came from, for measuring it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = [torch.from_numpy(o) for o in self.session.run(None, {"image": x.numpy()})]
        which = 1 if len(outputs) == 2 else 0
        outputs[which] = torch.logit(outputs[which].clamp(1e-6, 1 - 1e-6))
        return tuple(outputs)


def write_entry(model_id: str, capability: str, path: Path, io: str, figures: dict[str, str]) -> None:
    content = path.read_bytes()
    lines = [
        f'id = "{model_id}"',
        'version = "1"',
        f'capability = "{capability}"',
        'family = "embedded"',
        'licence = "Apache-2.0"',
        'licence_source = "trained by this project; see docs/models"',
        'commercial = "yes"',
        'vendor = "The FaceFusion authors"',
        "year = 2026",
        "",
        "[[files]]",
        f'name = "{path.name}"',
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"',
        f"size_bytes = {len(content)}",
        "",
        io.strip(),
        "",
        "[figures]",
        *(f'{key} = "{value}"' for key, value in figures.items()),
    ]
    CATALOG.mkdir(parents=True, exist_ok=True)
    (CATALOG / f"{model_id}.toml").write_text("\n".join(lines) + "\n")
    card = CARDS / f"{model_id}.md"
    if card.exists():
        before, _, rest = card.read_text().partition("<!-- figures -->")
        table = "\n".join(
            f"| {key.replace('_', ' ')} | {value} |" for key, value in figures.items() if key != "training"
        )
        after = rest.partition("<!-- end -->")[2]
        card.write_text(f"{before}<!-- figures -->\n| what | figure |\n|---|---|\n{table}\n<!-- end -->{after}")


def load_weights(paths: list[Path]) -> dict[str, torch.Tensor]:
    """Averaged weights of one run, or the mean over several runs that started from each other."""
    states = [torch.load(path)["average"] for path in paths]
    first = states[0]
    return {
        key: sum(state[key] for state in states) / len(states) if value.dtype.is_floating_point else value
        for key, value in first.items()
    }


def export_mesh(weights: list[Path], facepack: Path, media: Path, note: str) -> None:
    from train_mesh import SIZE, MeshNet, Mirrored, evaluate, load_held_out, look, report

    net = MeshNet()
    net.load_state_dict(load_weights(weights))
    path = EMBEDDED / "face_mesh.onnx"
    free = {"image": {0: "n"}, "mesh": {0: "n"}, "score": {0: "n"}}
    export(MeshHead(net), torch.zeros(2, 3, SIZE, SIZE), path, ["mesh", "score"], free)
    exported = OnnxNet(path)
    held = load_held_out(facepack, media)
    first, second = evaluate(exported, held, looks=1), evaluate(exported, held, looks=2)
    mirrored = evaluate(Mirrored(exported), held, looks=2)
    from facefusion.imaging import align

    _, scores = look(exported, held["image"], [align.mesh_crop(m, SIZE) for m in held["mesh"]])
    empty = []
    for name in sorted((media / "negatives").iterdir()):
        image = cv2.imread(str(name))
        side = min(image.shape[:2])
        affine = align.square_crop([image.shape[1] / 2, image.shape[0] / 2], side * 0.6, 0.0, SIZE)
        empty.append(look(exported, np.array([image]), [affine])[1][0])
    figures = {
        "error_as_used_second_look_with_mirror_image": report(mirrored),
        "error_of_a_second_look_without_mirror_image": report(second),
        "error_of_the_first_look": report(first),
        "held_out_pictures": str(len(second)),
        "faces_scored_above_half": f"{(scores > 0.5).mean():.2%}",
        "no_face_pictures_scored_above_half": f"{(np.array(empty) > 0.5).mean():.2%} of {len(empty)}",
        "training": note,
    }
    io = """
[inputs]
image = [-1, 3, 128, 128]

[outputs]
mesh = [-1, 478, 3]
score = [-1]
"""
    write_entry("face_landmarker_embedded", "face_landmarker", path, io, figures)
    print(figures)


def export_features(weights: list[Path], held: Path, note: str) -> None:
    from train_features import EYE_SIDE, MOUTH_SIDE, POINTS, FeatureNet, figures_of, load_held

    net = FeatureNet()
    net.load_state_dict(
        {key: v for key, v in load_weights(weights).items() if not key.endswith("_share")}, strict=False
    )
    path = EMBEDDED / "face_features.onnx"
    free = {"eyes": {0: "m"}, "mouths": {0: "n"}, "of_eyes": {0: "m"}, "of_mouths": {0: "n"}}
    outputs = ["of_eyes", "of_mouths"]
    example = torch.zeros(2, 3, EYE_SIDE, EYE_SIDE), torch.zeros(2, 3, MOUTH_SIDE, MOUTH_SIDE)
    export(net, example, path, outputs, free, inputs=("eyes", "mouths"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def look(name: str, crops: torch.Tensor) -> torch.Tensor:
        other, side = ("mouths", MOUTH_SIDE) if name == "eyes" else ("eyes", EYE_SIDE)
        feed = {name: crops.numpy(), other: np.zeros((1, 3, side, side), np.float32)}
        return torch.from_numpy(session.run([f"of_{name}"], feed)[0][..., :2].copy())

    found = figures_of(look, load_held(held))
    figures = {
        "lids_agree": f"{found['lids_r']:.3f} (slope {found['lids_slope']:.2f})",
        "gaze_agrees": f"{found['gaze_r']:.3f} (slope {found['gaze_slope']:.2f})",
        "lips_agree": f"{found['lips_r']:.3f} (slope {found['lips_slope']:.2f})",
        "points_off": f"{found['eyes_px']:.2f} of {EYE_SIDE} px at eyes, {found['mouths_px']:.2f} of {MOUTH_SIDE} px at mouths",
        "held_out": f"{int(found['faces'])} faces",
        "training": note,
    }
    io = f"""
[inputs]
eyes = [-1, 3, {EYE_SIDE}, {EYE_SIDE}]
mouths = [-1, 3, {MOUTH_SIDE}, {MOUTH_SIDE}]

[outputs]
of_eyes = [-1, {POINTS}, 3]
of_mouths = [-1, {POINTS}, 3]
"""
    write_entry("face_features_embedded", "face_features", path, io, figures)
    print(figures)


def export_detector(weights: list[Path], facepack: Path, media: Path, note: str) -> None:
    from train_detector import DetectorNet, evaluate, load_pictures

    net = DetectorNet()
    net.load_state_dict(load_weights(weights))
    path = EMBEDDED / "face_detector.onnx"
    free = {"image": {0: "n", 2: "h", 3: "w"}}
    free |= {name: {0: "n", 2: "rows", 3: "columns"} for name in ("heat", "sizes", "points")}
    export(DetectorHead(net), torch.zeros(1, 3, 192, 256), path, ["heat", "sizes", "points"], free)
    held = load_pictures(facepack / "boxes.json", media, "all", held_out=True)
    result = evaluate(OnnxNet(path), held)
    figures = {
        "people_held_out_by_number_at_score_half": (
            f"recall {result['people_recall']:.2%} of {result['people_faces']:.0f} faces of {result['people']:.0f} people, "
            f"precision {result['shipped_precision']:.2%} over all held-out pictures"
        ),
        "each_file_counted_once": f"recall {result['file_recall']:.2%} at precision {result['file_precision']:.2%}",
        "each_face_of_each_frame_counted": f"recall {result['recall']:.2%} at precision {result['precision']:.2%}",
        "at_scores": f"{result['file_score']:.2f} and {result['score']:.2f}",
        "held_out": f"{result['faces']:.0f} faces of 32 px and more in {result['files']:.0f} files",
        "training": note,
    }
    io = """
[inputs]
image = [-1, 3, -1, -1]

[outputs]
heat = [-1, 1, -1, -1]
sizes = [-1, 4, -1, -1]
points = [-1, 10, -1, -1]
"""
    write_entry("face_detector_embedded", "face_detector", path, io, figures)
    print(figures)


class IdentityHead(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image)


WHITENED, SHRINKAGE = 5000, 0.3


def whiten(net: nn.Module, codes: np.ndarray) -> None:
    """Make all directions of the codes of training pictures alike strong, within the last layer.

    A cosine then tells strangers apart by small differences too (Jegou and Chum, ECCV 2012).
    """
    mean = codes.mean(axis=0)
    strength, axes = np.linalg.eigh(np.cov((codes - mean).T))
    turn = torch.from_numpy((axes / np.sqrt(strength + SHRINKAGE * strength.mean())).T.astype(np.float32))
    with torch.no_grad():
        net.code.bias.copy_(turn @ (net.code.bias - torch.from_numpy(mean)))
        net.code.weight.copy_(turn @ net.code.weight)


def export_identity(weights: list[Path], pool: Path, note: str) -> None:
    from identity_pool import ROOM
    from train_identity import IdentityNet, area_under_curve, encode

    net = IdentityNet()
    net.load_state_dict(load_weights(weights))
    net.eval()
    whiten(net, encode(net, np.array(np.load(pool / "crops.npy", mmap_mode="r")[:WHITENED])))
    path = EMBEDDED / "face_identity.onnx"
    export(IdentityHead(net), torch.zeros(2, 3, 112, 112), path, ["code"], {"image": {0: "n"}, "code": {0: "n"}})
    crops, ident, taught = (np.load(pool / f"held_{name}.npy") for name in ("crops", "ident", "codes"))
    x = crops[:, ROOM:-ROOM, ROOM:-ROOM, ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    plain, mirrored = (session.run(None, {"image": np.ascontiguousarray(v)})[0] for v in (x, x[..., ::-1]))
    first, second = np.triu_indices(len(ident), 1)
    is_same = ident[first] == ident[second]

    def cosines(codes: np.ndarray) -> np.ndarray:
        unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
        return (unit @ unit.T)[first, second]

    used = cosines(plain + mirrored)
    limit = float(np.quantile(used[~is_same], 0.999))
    centre = np.load(pool / "codes.npy").mean(axis=0)
    figures = {
        "area_under_the_curve_as_used_with_mirror_image": f"{area_under_curve(used, is_same):.4f}",
        "area_under_the_curve_without_mirror_image": f"{area_under_curve(cosines(plain), is_same):.4f}",
        "area_under_the_curve_of_the_teacher": f"{area_under_curve(cosines(taught - centre), is_same):.4f}",
        "same_person_found_when_one_pair_of_strangers_in_a_thousand_passes": f"{(used[is_same] > limit).mean():.2%}",
        "held_out": f"{len(ident)} pictures of {len(set(ident.tolist()))} people, {int(is_same.sum())} pairs of one person",
        "training": note,
    }
    io = f"""
[inputs]
image = [-1, 3, 112, 112]

[outputs]
code = [-1, 128]

[options]
contract = "facefusion_identity_1"
same_person_cosine = {limit:.3f}
"""
    write_entry("face_identifier_embedded", "face_identifier", path, io, figures)
    print(figures, limit)


CALIBRATION = 160
"""Pictures of the training set from which ranges of bytes are taken."""


def as_input(picture: np.ndarray) -> np.ndarray:
    """(1, C, H, W) from 0 to 1, from (H, W) or (H, W, 3) uint8."""
    return np.atleast_3d(picture).transpose(2, 0, 1)[None].astype(np.float32) / 255


class MaskHead(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        # Softmax over channels costs the runtime a quarter of the whole network; this is the same.
        powers = torch.exp(torch.clamp(self.net(image), -30, 30))
        return powers / powers.sum(dim=1, keepdim=True)


class MaskLogits(nn.Module):
    """The exported file behind the interface of the network, for measuring it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(torch.from_numpy(self.session.run(None, {"image": x.numpy()})[0]).clamp(min=1e-9))


def export_masks(weights: list[Path], held: Path, pool: Path, note: str) -> None:
    from train_masks import Batches, MaskNet, evaluate

    batches = Batches(pool, CALIBRATION, 0)

    def feeds() -> Iterable[dict[str, np.ndarray]]:
        for k in np.linspace(0, len(batches.images) - 1, CALIBRATION).astype(int):
            pixels, _ = batches.cut(int(k), 1.0)
            yield {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)}

    net = MaskNet()
    net.load_state_dict(load_weights(weights))
    path = EMBEDDED / "face_masks.onnx"
    free = {"image": {0: "n"}, "classes": {0: "n"}}
    export(
        MaskHead(net), torch.zeros(2, 3, 128, 128), path, ["classes"], free,
        lambda p: store_bytes(p, feeds(), lambda name: "head" in name),
    )  # fmt: skip
    found = evaluate(MaskLogits(path), held)
    figures = {f"overlap_{key.replace(' ', '_').replace('-', '_')}": f"{value:.3f}" for key, value in found.items()}
    figures["training"] = note
    io = """
[inputs]
image = [-1, 3, 128, 128]

[outputs]
classes = [-1, 12, 128, 128]
"""
    for capability in ("face_occluder", "face_parser"):
        write_entry(f"{capability}_embedded", capability, path, io, figures)
    print(figures)


class SigmoidHead(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.net(image))


class GlassesLogits(MaskLogits):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.logit(torch.from_numpy(self.session.run(None, {"image": x.numpy()})[0]), eps=1e-6)


def export_glasses(weights: list[Path], held: Path, note: str) -> None:
    from train_glasses import HEIGHT, WIDTH, evaluate, glasses_net

    net = glasses_net()
    net.load_state_dict(load_weights(weights))
    path = EMBEDDED / "face_glasses.onnx"
    export(
        SigmoidHead(net), torch.zeros(2, 3, HEIGHT, WIDTH), path, ["hidden"], {"image": {0: "n"}, "hidden": {0: "n"}}
    )
    found = evaluate(GlassesLogits(path), held)
    figures = {
        "overlap_glasses": f"{found['glasses']:.3f}",
        "found_where_none_are": f"{found['found where none are']:.2%}",
        "training": note,
    }
    io = f"""
[inputs]
image = [-1, 3, {HEIGHT}, {WIDTH}]

[outputs]
hidden = [-1, 1, {HEIGHT}, {WIDTH}]
"""
    write_entry("face_glasses_embedded", "face_glasses", path, io, figures)
    print(figures)


class FusionHead(nn.Module):
    """Pictures and mask from 0 to 1 in, gains, offsets and the share of the mask that is kept out."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, over: torch.Tensor, alpha: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        from train_fusion import HIDDEN_PX, gauss, prepare

        # The wide blur is taken at a quarter of the size: as good, and a seventh of the network's time less.
        small = gauss(F.avg_pool2d(target, 4), HIDDEN_PX / 4)
        blurred = F.interpolate(small, scale_factor=4.0, mode="bilinear", align_corners=False)
        return self.net(prepare(over, alpha, target, blurred))


class FusionFile(nn.Module):
    """The exported file behind the interface of the network, for measuring it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def pair(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        feed = dict(zip(("over", "alpha", "target"), (v.contiguous().numpy() for v in values), strict=True))
        return tuple(torch.from_numpy(x) for x in self.session.run(None, feed))


def export_fusion(weights: list[Path], held: Path, pool: Path, note: str) -> None:
    import train_fusion

    names = ["over", "alpha", "target"], ["field", "keep"]
    kept = [np.load(pool / f"{name}.npy", mmap_mode="r") for name in names[0]]

    def feeds() -> Iterable[dict[str, np.ndarray]]:
        for k in np.linspace(0, len(kept[0]) - 1, CALIBRATION).astype(int):
            yield {name: as_input(values[k]) for name, values in zip(names[0], kept, strict=True)}

    net = train_fusion.FusionNet()
    net.load_state_dict(load_weights(weights))
    path = EMBEDDED / "face_fusion.onnx"
    example = tuple(torch.zeros(1, channels, 128, 128) for channels in (3, 1, 3))
    head = FusionHead(net).eval()
    free = {name: {0: "n"} for name in (*names[0], *names[1])}
    torch.onnx.export(
        head, example, str(path), input_names=names[0], output_names=names[1], dynamic_axes=free, opset_version=17,
        dynamo=False,
    )  # fmt: skip
    store_bytes(path, feeds(), lambda name: "net/" not in name or "field" in name or "keep" in name)
    exported = FusionFile(path)
    found = train_fusion.evaluate(exported.pair, held, prepare=lambda *values: values)
    figures = {
        f"{name.replace(' ', '_')}_plain_blend_then_fused": f"{plain:.3f} then {fused:.3f}"
        for name, (plain, fused) in found.items()
    }
    figures["training"] = note
    io = """
[inputs]
over = [-1, 3, 128, 128]
alpha = [-1, 1, 128, 128]
target = [-1, 3, 128, 128]

[outputs]
field = [-1, 6, 8, 8]
keep = [-1, 1, 64, 64]
"""
    write_entry("face_fusion_embedded", "face_fusion", path, io, figures)
    print(figures)


class AppearanceFile(nn.Module):
    """The exported file behind the interface of the network, for measuring it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.session.run(None, {"image": image.cpu().numpy()})
        return tuple(torch.from_numpy(x).to(image.device) for x in found)


def export_appearance(weights: list[Path], pool: Path, note: str) -> None:
    from train_appearance import SIDE, AppearanceNet, evaluate, model_of, prepare

    net = AppearanceNet(torch.zeros(1, 3, SIDE, SIDE))
    net.load_state_dict(load_weights(weights))
    path = EMBEDDED / "face_appearance.onnx"
    free = {name: {0: "n"} for name in ("image", "clean", "own")}
    export(net, torch.rand(1, 5, SIDE, SIDE), path, ["clean", "own"], free)
    made = prepare(pool)
    figures = {}
    exported, model = evaluate(AppearanceFile(path), made.judge), evaluate(model_of(made), made.judge)
    for part, words in (
        ("all", "in_all"),
        ("hidden", "where_it_was_covered_or_not_seen"),
        ("own", "where_it_was_seen"),
    ):
        for end, word in (("", "difference"), (" slope", "difference_of_slopes")):
            figures[f"{word}_{words}_left_then_components_then_network"] = (
                f"{exported[f'{part} left{end}']:.3f}, {model[f'{part} net{end}']:.3f}, {exported[f'{part} net{end}']:.3f}"
            )
    figures |= {"held_out": f"{made.held} photos of {made.held_people} people", "training": note}
    io = f"""
[inputs]
image = [-1, 5, {SIDE}, {SIDE}]

[outputs]
clean = [-1, 3, {SIDE}, {SIDE}]
own = [-1, 1, {SIDE}, {SIDE}]
"""
    write_entry("face_appearance_embedded", "face_appearance", path, io, figures)
    print(figures)


def export_verifier(weights: list[Path], pool: Path, media: Path, note: str) -> None:
    from train_verifier import SIDE, Crops, VerifierNet, as_tensor, load_pictures

    net = VerifierNet()
    net.load_state_dict(load_weights(weights))
    path = EMBEDDED / "face_verifier.onnx"
    export(SigmoidHead(net), torch.zeros(2, 3, SIDE, SIDE), path, ["score"], {"image": {0: "n"}, "score": {0: "n"}})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    held = load_pictures(pool / "finds.jsonl", media, True)
    crops = Crops(held, 99)

    def look(found: list[np.ndarray]) -> np.ndarray:
        x = as_tensor(np.stack(found)).numpy()
        both = [session.run(None, {"image": np.ascontiguousarray(part)})[0] for part in (x, x[..., ::-1])]
        return np.mean(both, axis=0)

    plain = [crops.cut(p, p.faces[k], is_hard=False) for p, k in crops.faces]
    finds = [crops.cut(p, p.finds[k], is_hard=False) for p, k in crops.finds]
    hard, others = [crops.face() for _ in range(1000)], [crops.other() for _ in range(1000)]
    scores = {name: look(found) for name, found in (("f", plain), ("n", finds), ("hf", hard), ("hn", others))}
    figures = {}
    for least in (0.2, 0.5, 0.8):
        figures[f"at_{least}_faces_kept_and_mistakes_kept".replace(".", "_")] = (
            f"{(scores['f'] >= least).mean():.2%} and {(scores['n'] >= least).mean():.1%}; "
            f"spoiled {(scores['hf'] >= least).mean():.1%} and {(scores['hn'] >= least).mean():.1%}"
        )
    figures |= {
        "held_out": f"{len(plain)} faces and {len(finds)} mistakes of the detector in {len({p.file for p in held})} files",
        "training": note,
    }
    io = f"""
[inputs]
image = [-1, 3, {SIDE}, {SIDE}]

[outputs]
score = [-1]
"""
    write_entry("face_verifier_embedded", "face_verifier", path, io, figures)
    print(figures)


RUNS = {
    "appearance": export_appearance,
    "mesh": export_mesh,
    "features": export_features,
    "detector": export_detector,
    "identity": export_identity,
    "masks": export_masks,
    "glasses": export_glasses,
    "fusion": export_fusion,
    "verifier": export_verifier,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=tuple(RUNS))
    parser.add_argument("weights", type=Path)
    parser.add_argument("inputs", type=Path, nargs="+", help="FACEPACK and MEDIA, or the pool with held-out people")
    parser.add_argument("--mean-with", type=Path, action="append", default=[], help="weights to average with")
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "src"))
    RUNS[arguments.kind]([arguments.weights, *arguments.mean_with], *arguments.inputs, arguments.note)


if __name__ == "__main__":
    main()
