"""Examples beside the library: COCO of a clip, and nodes of ComfyUI without ComfyUI."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.chaos import make_small
from tests.graphs import inverting

from facefusion.media.image import read_photo
from facefusion.testing.fakes import sample_path
from facefusion.version import DISTRIBUTION

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COMFY = EXAMPLES / "comfyui-facefusion"


class Tensor:
    """What nodes use of a torch tensor."""

    device = "somewhere"

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.array

    def to(self, device):
        assert device == self.device
        return self


@pytest.fixture
def nodes(monkeypatch):
    """The nodes, imported as ComfyUI does: the folder itself is the package, whatever it is called."""
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(from_numpy=Tensor))
    name = "custom_nodes_comfyui_facefusion"
    spec = importlib.util.spec_from_file_location(name, COMFY / "__init__.py", submodule_search_locations=[str(COMFY)])
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    yield module
    for known in [known for known in sys.modules if known.startswith(f"{name}.")]:
        del sys.modules[known]


def image(name, size=256):
    with Image.open(sample_path(name)) as opened:
        return np.asarray(opened.convert("RGB").resize((size, size)), np.float32)[None] / 255


def test_a_clip_becomes_coco_with_its_frames_and_is_read_back(tmp_path, capsys):
    clip = make_small(tmp_path / "clip.mp4", 4, 256)
    spec = importlib.util.spec_from_file_location("coco_export", EXAMPLES / "coco_export.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(clip, tmp_path / "out", "68") == {"images": 4, "faces": 4}
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4 and "68 of 68 points inside" in told[0] and "person 0 at" in told[0]
    pictures = sorted((tmp_path / "out" / "images").iterdir())
    assert len(pictures) == 4 and told[0].startswith(pictures[0].name)
    assert read_photo(pictures[0]).pixels.shape == (256, 256, 3)


def test_the_package_of_nodes_says_what_it_needs_and_comfyui_finds_three(nodes):
    project = tomllib.loads((COMFY / "pyproject.toml").read_text())["project"]
    assert DISTRIBUTION in project["dependencies"]
    assert set(nodes.NODE_CLASS_MAPPINGS) == set(nodes.NODE_DISPLAY_NAME_MAPPINGS)
    assert len(nodes.NODE_CLASS_MAPPINGS) == 3
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        assert node.RETURN_TYPES == ("IMAGE", "MASK") and node.CATEGORY == "FaceFusion"
        assert callable(getattr(node(), node.FUNCTION))
        asked = node.INPUT_TYPES()
        assert asked["required"]["images"] == ("IMAGE",)
        for kind, *more in {**asked["required"], **asked["optional"]}.values():
            assert isinstance(kind, str) or more[0]["default"] in kind


def test_swap_takes_tensors_and_gives_tensors_of_the_same_shape_with_where_it_is_new(nodes):
    given = Tensor(image("target.jpg"))
    swapped, mask = nodes.NODE_CLASS_MAPPINGS["FaceFusionSwap"]().swap(
        given, Tensor(image("source.jpg", 512)), "largest", "feather", "pictures"
    )
    assert isinstance(swapped, Tensor) and swapped.array.shape == (1, 256, 256, 3)
    assert swapped.array.dtype == np.float32 and 0 <= swapped.array.min() <= swapped.array.max() <= 1
    assert mask.array.shape == (1, 256, 256) and 0.05 < mask.array.mean() < 0.8
    difference = np.abs(swapped.array - given.array).max(axis=3)
    assert difference[mask.array > 0].max() > 0.05
    assert difference[mask.array == 0].max() <= 1 / 255  # nothing but rounding


def test_anonymise_hides_and_follows_people_in_a_video(nodes):
    frame = image("target.jpg")
    hide = nodes.NODE_CLASS_MAPPINGS["FaceFusionAnonymise"]().hide
    hidden, mask = hide(np.concatenate([frame, frame]), "pixelate", 7, "video", 10.0)
    assert hidden.shape == (2, 256, 256, 3) and mask.shape == (2, 256, 256)
    assert np.abs(hidden[0] - hidden[1]).mean() < 0.01 and mask.mean() > 0.05
    assert np.abs(hidden[0] - frame[0]).max() > 0.1
    nobody, mask = hide(np.zeros((1, 64, 64, 3), np.float32), "blur", 7, "pictures")
    assert not nobody.any() and not mask.any()


def test_restore_runs_a_model_of_the_user_and_says_where_there_is_none(nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    restore = nodes.NODE_CLASS_MAPPINGS["FaceFusionRestore"]().restore
    with pytest.raises(RuntimeError, match=r"not on this machine.*facefusion models fetch"):
        restore(image("target.jpg"), "gfpgan_1.4", 100, "all", "commercial", "pictures")
    (tmp_path / "gfpgan_1.4.onnx").write_bytes(inverting(512))
    with pytest.warns(UserWarning, match="pinned"):
        restored, mask = restore(image("target.jpg"), "gfpgan_1.4", 100, "all", "commercial", "pictures", str(tmp_path))
    assert restored.shape == (1, 256, 256, 3) and mask.mean() > 0.05


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), np.zeros((1, 3, 8, 8)), np.zeros((0, 8, 8, 3))])
def test_what_is_no_image_is_said(nodes, wrong):
    tensors = importlib.import_module(f"{nodes.__name__}.facefusion_comfyui.tensors")
    with pytest.raises(ValueError, match="IMAGE"):
        tensors.to_pictures(wrong)
    assert tensors.to_pictures(np.full((1, 2, 2, 4), np.nan))[0].max() == 0
