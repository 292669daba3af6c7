"""The nodes. Each takes an IMAGE and gives an IMAGE, and a MASK of what is new in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from facefusion import Anonymiser, FaceFusion, Stream, Swapper

from .tensors import to_images, to_masks, to_pictures

FACES = ("largest", "all")
FRAMES = ("pictures", "video")
HIDERS = ("synthetic", "blur", "pixelate", "blackout", "mask", "head")
BLENDS = ("feather", "pyramid", "poisson")
FRAME_RATE = ("FLOAT", {"default": 25.0, "min": 1.0, "max": 240.0})


def _choice(names: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    return names, {"default": names[0]}


def change_all(changer: FaceFusion, images: Any, frames: str, frame_rate: float = 25.0) -> tuple[Any, Any]:
    """Change every picture of a batch.

    Parameters
    ----------
    changer
        What is done.
    images
        IMAGE.
    frames
        ``pictures`` have nothing to do with each other; in a ``video`` people are followed from frame to frame, so
        that one person keeps one new face and nothing flickers.
    frame_rate
        Of the video, a second.

    Returns
    -------
    IMAGE, and MASK of the pixels that are new.
    """
    before = to_pictures(images)
    if frames == "video":
        with Stream(changer, frame_rate) as stream:
            found = [stream.change(picture) for picture in before]
        after = [picture if new is None else new for picture, new in zip(before, found, strict=True)]
    else:
        after = [changed.pixels for changed in changer.change_each(before)]
    masks = [(old != new).any(axis=2) for old, new in zip(before, after, strict=True)]
    return to_images(after, images), to_masks(masks, images)


def _report(step: Callable[[], FaceFusion], images: Any, frames: str, frame_rate: float) -> tuple[Any, Any]:
    """Do it; what FaceFusion says of why it cannot is shown with what to do about it."""
    from facefusion import FaceFusionError

    try:
        with step() as changer:
            return change_all(changer, images, frames, frame_rate)
    except FaceFusionError as error:
        raise RuntimeError(f"{error.message} {error.hint}".strip()) from error


class _Node:
    """What all of them give."""

    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("images", "changed")
    CATEGORY = "FaceFusion"


class FaceSwap(_Node):
    """Puts the face of one person on the people of the images."""

    FUNCTION = "swap"
    DESCRIPTION = "Puts the face of one person, of one or more photos, on the people of the images."

    @classmethod
    def INPUT_TYPES(cls) -> Mapping[str, Any]:  # noqa: N802
        """What ComfyUI asks for."""
        return {
            "required": {
                "images": ("IMAGE",),
                "source": ("IMAGE", {"tooltip": "one or more photos of one person"}),
                "faces": _choice(FACES),
                "blend": _choice(BLENDS),
                "frames": _choice(FRAMES),
            },
            "optional": {"frame_rate": FRAME_RATE},
        }

    def swap(
        self, images: Any, source: Any, faces: str, blend: str, frames: str, frame_rate: float = 25.0
    ) -> tuple[Any, Any]:
        """The images with the new face, and where."""
        return _report(
            lambda: Swapper(to_pictures(source), faces=faces, face_swapper_blend=blend), images, frames, frame_rate
        )


class Anonymise(_Node):
    """Hides everybody."""

    FUNCTION = "hide"
    DESCRIPTION = "Hides everybody who is found. Whom the detector misses is not hidden: look at what matters."

    @classmethod
    def INPUT_TYPES(cls) -> Mapping[str, Any]:  # noqa: N802
        """What ComfyUI asks for."""
        return {
            "required": {
                "images": ("IMAGE",),
                "how": _choice(HIDERS),
                "seed": ("INT", {"default": 1, "min": 0, "max": 2**31 - 1, "tooltip": "which new faces people get"}),
                "frames": _choice(FRAMES),
            },
            "optional": {"frame_rate": FRAME_RATE},
        }

    def hide(self, images: Any, how: str, seed: int, frames: str, frame_rate: float = 25.0) -> tuple[Any, Any]:
        """The images with nobody to be known in them, and where."""
        options = {"face_anonymiser_model": how, "face_anonymiser_seed": seed}
        return _report(lambda: Anonymiser(**options), images, frames, frame_rate)


class FaceRestore(_Node):
    """Brings back detail of faces with a restoration model of others."""

    FUNCTION = "restore"
    DESCRIPTION = "Restores faces with GFPGAN, CodeFormer and the like, which are not shipped: facefusion models fetch."

    @classmethod
    def INPUT_TYPES(cls) -> Mapping[str, Any]:  # noqa: N802
        """What ComfyUI asks for."""
        return {
            "required": {
                "images": ("IMAGE",),
                "model": ("STRING", {"default": "gfpgan_1.4"}),
                "blend": ("INT", {"default": 80, "min": 0, "max": 100}),
                "faces": _choice(("all", "largest")),
                "licences": _choice(("commercial", "research", "any")),
                "frames": _choice(FRAMES),
            },
            "optional": {
                "models_path": ("STRING", {"default": "", "tooltip": "folder with the model's file"}),
                "frame_rate": FRAME_RATE,
            },
        }

    def restore(
        self,
        images: Any,
        model: str,
        blend: int,
        faces: str,
        licences: str,
        frames: str,
        models_path: str = "",
        frame_rate: float = 25.0,
    ) -> tuple[Any, Any]:
        """The images with restored faces, and where."""
        options: dict[str, Any] = {
            "processors": ["face_enhancer"], "face_enhancer_model": model, "face_enhancer_blend": blend,
            "faces": faces, "licences": licences,
        }  # fmt: skip
        if models_path:
            options["models_paths"] = [models_path]
        return _report(lambda: FaceFusion(**options), images, frames, frame_rate)


NODE_CLASS_MAPPINGS = {
    "FaceFusionSwap": FaceSwap,
    "FaceFusionAnonymise": Anonymise,
    "FaceFusionRestore": FaceRestore,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "FaceFusionSwap": "Face Swap (FaceFusion)",
    "FaceFusionAnonymise": "Anonymise (FaceFusion)",
    "FaceFusionRestore": "Restore Faces (FaceFusion)",
}
