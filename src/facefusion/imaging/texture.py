"""Faces as textures: unwrapping a photo onto the mesh's own plane and drawing it back elsewhere.

The texture plane is the mean face unrolled from a cylinder: symmetric about its vertical middle, so
mirroring the texture is flipping it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.mesh import rasterise, signed_areas, triangle_affines, warp_map

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.uint8]

_MARGIN = 0.06
_RING = 1.1


@dataclass(frozen=True, slots=True, eq=False)
class TexturePlane:
    """Where each vertex lies in a square texture, and what lies under each of its pixels.

    Attributes
    ----------
    size
        Side of the texture in pixels.
    points
        (V, 2) float32 vertices in texture pixels: the 468 points of the mesh, then a ring around its
        oval that only serves to give pixels at the edge a place to sample.
    triangles
        (T, 3) int32, clockwise.
    index_map
        (size, size) int32 triangle under each texture pixel, -1 outside.
    oval
        Vertices of the outline in order.
    face_count
        How many of the triangles, the first ones, are the face itself and not the ring.
    """

    size: int
    points: FloatArray
    triangles: IntArray
    index_map: IntArray
    oval: IntArray
    face_count: int


def build_plane(mean: FloatArray, triangles: IntArray, oval: IntArray, size: int) -> TexturePlane:
    """Unroll a mean face.

    Parameters
    ----------
    mean
        (478, 3) frontal mean face.
    triangles
        (T, 3) all its triangles.
    oval
        Vertices of its outline in order.
    size
        Side of the texture in pixels.
    """
    axis_z = float(mean[:468, 2].max()) + 0.35
    u = np.arctan2(mean[:468, 0], axis_z - mean[:468, 2]) * 1.15
    v = mean[:468, 1]
    flat = np.stack([u, v], axis=1)
    flat[:, 1] -= (flat[:, 1].min() + flat[:, 1].max()) / 2
    flat *= (0.5 - _MARGIN) / np.abs(flat).max()
    points = ring_extended(((flat + 0.5) * (size - 1)).astype(np.float32), oval)
    count = len(oval)
    first = np.arange(count, dtype=np.int32)
    following = (first + 1) % count
    ring = np.concatenate(
        [
            np.stack([oval[first], 468 + first, oval[following]], axis=1),
            np.stack([oval[following], 468 + first, 468 + following], axis=1),
        ]
    ).astype(np.int32)
    ring = np.where((signed_areas(points, ring) > 0)[:, None], ring, ring[:, ::-1])
    everything = np.concatenate([triangles, ring]).astype(np.int32)
    deep = np.concatenate([points, np.zeros((len(points), 1), dtype=np.float32)], axis=1)
    return TexturePlane(size, points, everything, rasterise(deep, everything, size, size), oval, len(triangles))


def ring_extended(points: FloatArray, oval: IntArray) -> FloatArray:
    """The first 468 vertices of a mesh with a slightly larger copy of its outline appended."""
    skin = points[:468].astype(np.float32)
    outline = skin[oval]
    ring = outline.copy()
    centre = outline[:, :2].mean(axis=0)
    ring[:, :2] = centre + (outline[:, :2] - centre) * _RING
    return np.concatenate([skin, ring])


def facing(points: FloatArray, triangles: IntArray) -> FloatArray:
    """Cosine between each triangle's normal and the direction to the camera.

    Parameters
    ----------
    points
        (V, 3) vertices in pixels.
    triangles
        (T, 3) clockwise vertex indices.

    Returns
    -------
    (T,) float32, 1 for a triangle that faces the camera, below 0 for one that faces away.
    """
    a, b, c = (points[triangles[:, k]].T for k in range(3))
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    return np.asarray(nz / np.maximum(length, 1e-6), dtype=np.float32)


def unwrap(pixels: Pixels, mesh: FloatArray, plane: TexturePlane) -> tuple[Pixels, FloatArray]:
    """Take the texture of a face off a photo.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8.
    mesh
        (478, 3) in the photo's pixels.
    plane
        The texture plane.

    Returns
    -------
    (S, S, 3) uint8 texture, and (S, S) float32 quality: how squarely each pixel faced the camera,
    0 where it was hidden.
    """
    points = ring_extended(mesh, plane.oval)
    density = float(np.ptp(points[:, 1])) / float(np.ptp(plane.points[:, 1]))
    while density > 1.6:  # average before a strong reduction
        pixels = np.asarray(cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        points = points * 0.5 - np.array([0.25, 0.25, 0])  # (x + 0.5) / 2 - 0.5
        density /= 2
    points = points.astype(np.float32)
    where = warp_map(plane.index_map, triangle_affines(plane.points, points, plane.triangles))
    texture = cv2.remap(pixels, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    seen = facing(points, plane.triangles)
    # Hidden: a triangle that faces the camera but lies behind a nearer one.
    height, width = pixels.shape[:2]
    hidden = _hidden(points, plane.triangles, height, width)
    quality_of = np.where(hidden, 0.0, np.clip(seen, 0, 1)).astype(np.float32)
    quality = np.where(plane.index_map >= 0, quality_of[plane.index_map], 0.0).astype(np.float32)
    inside = (where[..., 0] >= 0) & (where[..., 0] <= width - 1) & (where[..., 1] >= 0) & (where[..., 1] <= height - 1)
    quality = cv2.GaussianBlur(quality * inside, (0, 0), plane.size / 128)
    return np.asarray(texture, dtype=np.uint8), np.asarray(quality, dtype=np.float32)


_FLAT = (0.12, 0.4)
"""How squarely a place is seen, over that of a look from the front, up to which nothing of it is worth having, and from
which all is."""
_BEHIND = 0.024
"""Breadth of what is lost beside what is hidden, over the side of the texture: as well do meshes know noses."""


def worth(quality: FloatArray, mesh: FloatArray, front: FloatArray, plane: TexturePlane) -> FloatArray:
    """How far a look at a face shows its places as well as one from the front would, 0 to 1.

    What is seen far more slantingly is smeared over the texture, and what is beside something hidden is mixed with it.

    Parameters
    ----------
    quality
        (S, S) as of `unwrap`.
    mesh
        (478, 3) in the photo's pixels.
    front
        (478, 3) a mesh from the front, in any unit.
    plane
        The texture plane.

    Returns
    -------
    (S, S) float32.
    """
    own, usual = (facing(ring_extended(one, plane.oval), plane.triangles) for one in (mesh, front))
    share = smoothstep((own / np.maximum(usual, 0.25) - _FLAT[0]) / (_FLAT[1] - _FLAT[0]))
    is_face = (plane.index_map >= 0) & (plane.index_map < plane.face_count)
    seen = np.where(is_face, share[plane.index_map], 1.0).astype(np.float32)
    # A nose hides a cheek from the front, too, and a mouth itself.
    hidden = (quality < 0.02) & is_face & (usual[plane.index_map] > 0.3)
    beside = grown(hidden.astype(np.float32), 2 * round(_BEHIND * plane.size) + 1)
    return blur(np.asarray(seen * (1 - beside), dtype=np.float32), plane.size / 64)


def _hidden(points: FloatArray, triangles: IntArray, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Triangles whose middle is covered by a clearly nearer triangle."""
    low = points[:, :2].min(axis=0)
    scale = min(1.0, 192 / max(float(np.ptp(points[:, 0])), float(np.ptp(points[:, 1])), 1.0))
    moved = points.copy()
    moved[:, :2] = (points[:, :2] - low) * scale
    moved[:, 2] *= scale
    side = int(np.ceil(moved[:, :2].max())) + 2
    drawn = rasterise(moved, triangles, side, side)
    middle = moved[triangles].mean(axis=1)
    column, row = (np.clip(middle[:, k].round().astype(int), 0, side - 1) for k in (0, 1))
    on_top = drawn[row, column]
    return np.asarray((on_top >= 0) & (middle[on_top, 2] < middle[:, 2] - 0.06 * side), dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceGrid:
    """A coarse grid fixed to the face, for light.

    Attributes
    ----------
    triangles
        (G, G, 3) int32 vertices of the triangle under each cell.
    shares
        (G, G, 3) float32 barycentric coordinates; all zero outside the face.
    owner
        (G, G) int32 triangle under each cell, -1 outside.
    """

    triangles: IntArray
    shares: FloatArray
    owner: IntArray

    def locate(self, points: FloatArray) -> FloatArray:
        """(G, G, D) position of every cell on a mesh with (V, D) vertices."""
        return np.asarray(np.einsum("ghk,ghkd->ghd", self.shares, points[self.triangles]), dtype=np.float32)


def build_grid(plane: TexturePlane, cells: int) -> SurfaceGrid:
    """Cells at even steps over a texture plane."""
    step = plane.size / cells
    at = ((np.arange(cells) + 0.5) * step - 0.5).astype(np.float32)
    x, y = np.meshgrid(at, at)
    owner = plane.index_map[
        np.clip(y.round().astype(int), 0, plane.size - 1), np.clip(x.round().astype(int), 0, plane.size - 1)
    ]
    corners = plane.triangles[np.maximum(owner, 0)]
    a, b, c = (plane.points[corners[..., k]] for k in range(3))
    total = (b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]
    share_b = ((x - a[..., 0]) * (c - a)[..., 1] - (y - a[..., 1]) * (c - a)[..., 0]) / total
    share_c = ((b - a)[..., 0] * (y - a[..., 1]) - (b - a)[..., 1] * (x - a[..., 0])) / total
    shares = np.stack([1 - share_b - share_c, share_b, share_c], axis=-1)
    shares[owner < 0] = 0
    return SurfaceGrid(corners.astype(np.int32), shares.astype(np.float32), owner.astype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceView:
    """A face as a picture sees it.

    Attributes
    ----------
    where
        (h, w, 2) float32 where each pixel of a reduced picture looks on the plane, in its pixels.
    step
        Pixels of the full picture, per axis, for one of the reduced one, which may be a little larger.
    towards
        (h, w) float32 facing of the surface, 0 outside, for the reduced picture.
    inside
        (h, w) float32, rising from 0 at the silhouette of the face to 1 a little inside.
    size
        (width, height) of the full picture.
    """

    where: FloatArray
    step: int
    towards: FloatArray
    inside: FloatArray
    size: tuple[int, int]


def view_surface(mesh: FloatArray, plane: TexturePlane, height: int, width: int, detail: int = 120) -> SurfaceView:
    """For every pixel of a picture, where on a texture it looks.

    Parameters
    ----------
    mesh
        (478, 3) in the picture's pixels.
    plane
        The texture plane.
    height, width
        Size of the picture in pixels.
    detail
        The mesh is scan-converted at about this many pixels on the longer side, or all where there are fewer;
        coordinates in between are interpolated, which is exact inside triangles.
    """
    step = max(round(max(height, width) / detail), 1)
    low_h, low_w = -(-height // step), -(-width // step)
    points = ring_extended(mesh, plane.oval)
    points[:, :2] = (points[:, :2] + 0.5) / step - 0.5
    points[:, 2] /= step
    points[468:, 2] += 0.02 * float(np.ptp(points[:468, 0]))  # the ring lies behind the face
    index = rasterise(points, plane.triangles, low_h, low_w)
    where = warp_map(index, triangle_affines(points, plane.points, plane.triangles), fill=0.0)
    is_drawn = index >= 0
    drawn = is_drawn.astype(np.float32)
    towards = np.where(is_drawn, np.clip(facing(points, plane.triangles), 0, 1)[index], 0.0).astype(np.float32)
    # Give the first pixels outside a coordinate too, so that interpolation has something to lean on.
    share = cv2.blur(drawn, (5, 5))
    near = cv2.blur(where, (5, 5)) / np.maximum(share, 1e-3)[..., None]
    where = np.where(is_drawn[..., None], where, near)
    where[~is_drawn & (share < 1e-3)] = -1e4
    # A turned face ends where it turns away, not at its outline: the edge is softened in the picture.
    is_face = (is_drawn & (index < plane.face_count)).astype(np.float32)
    inside = np.clip(cv2.GaussianBlur(is_face, (0, 0), max(0.024 * max(low_h, low_w), 0.8)) * 2 - 1, 0, 1)
    return SurfaceView(
        np.asarray(where, dtype=np.float32),
        step,
        np.asarray(cv2.GaussianBlur(towards, (0, 0), 2.0), dtype=np.float32),
        np.asarray(inside, dtype=np.float32),
        (width, height),
    )


def view_reduced(view: SurfaceView) -> SurfaceView:
    """A view of the reduced picture alone."""
    height, width = view.where.shape[:2]
    return replace(view, step=1, size=(width, height))


def look_up(
    texture: FloatArray | Pixels, view: SurfaceView, plane_size: int, outside: tuple[float, ...] = (0, 0, 0, 0)
) -> Pixels:
    """Sample a texture for the full picture.

    Parameters
    ----------
    texture
        (S, S) or with up to four channels, as large as the plane or reduced.
    view
        Where each pixel looks.
    plane_size
        Side of the plane in pixels.
    outside
        What is seen beyond it.
    """
    width, height = view.size
    return look_up_at(texture, enlarged(view.where, view.step)[:height, :width], plane_size, outside)


def look_up_at(
    texture: FloatArray | Pixels, where: FloatArray, plane_size: int, outside: tuple[float, ...] = (0, 0, 0, 0)
) -> Pixels:
    """Sample a texture at (H, W, 2) places on the plane; see `look_up`."""
    ratio = texture.shape[0] / plane_size
    if ratio != 1:
        where = where * np.float32(ratio) + np.float32(0.5 * ratio - 0.5)
    maps = cv2.convertMaps(where, None, cv2.CV_16SC2)  # type: ignore[call-overload]
    how = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": outside}
    return np.asarray(cv2.remap(texture, *maps, cv2.INTER_LINEAR, **how))  # type: ignore[call-overload]


def enlarged(values: FloatArray, step: int) -> FloatArray:
    """A map with ``step`` times as many pixels per axis, interpolated."""
    if step == 1:
        return values
    height, width = values.shape[:2]
    size = (width * step, height * step)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def look_up_grid(grid: FloatArray, view: SurfaceView, plane_size: int) -> FloatArray:
    """Sample a coarse grid over the plane for the reduced picture; its border is repeated outside."""
    ratio = grid.shape[0] / plane_size
    low = (view.where + 0.5) * np.float32(ratio) - 0.5
    return np.asarray(
        cv2.remap(grid, low[..., 0], low[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32
    )


def sample_soft(pixels: Pixels, where: FloatArray, blur_px: float) -> Pixels:
    """Sample a picture at (G, G, 2) positions after averaging over about ``blur_px`` pixels.

    The mean goes around every pixel and its width grows without steps, so what is read off a face does not depend on
    how the picture was cut out around it.
    """
    low = max(int(blur_px), 1)
    share = min(max(blur_px - low, 0.0), 1.0)
    x, y = where[..., 0].astype(np.float32), where[..., 1].astype(np.float32)

    def read(side: int) -> FloatArray:
        # An even mean lies half a pixel to the left of its middle.
        soft = cv2.blur(pixels, (side, side)) if side > 1 else pixels
        shift = np.float32(0.0 if side % 2 else 0.5)
        found = cv2.remap(soft, x + shift, y + shift, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(found, dtype=np.float32)

    found = read(low)
    if share > 0:
        found += (read(low + 1) - found) * np.float32(share)
    return np.asarray(found + 0.5, dtype=np.uint8)


def halved(texture: FloatArray) -> FloatArray:
    """The next coarser level of a texture, or of a part of it."""
    height, width = texture.shape[:2]
    return np.asarray(cv2.resize(texture, (width // 2, height // 2), interpolation=cv2.INTER_AREA), dtype=np.float32)


def blur(values: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur of a map."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), dtype=np.float32)


def smoothstep(values: npt.NDArray[np.floating]) -> FloatArray:
    """0 below 0, 1 above 1, and in between a curve that begins and ends level."""
    clipped = np.clip(values, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), dtype=np.float32)


def smoothly(value: float, band: tuple[float, float]) -> float:
    """0 below a band, 1 above it, and in between a curve that begins and ends level."""
    share = min(max((value - band[0]) / (band[1] - band[0]), 0.0), 1.0)
    return share * share * (3 - 2 * share)


def grown(values: FloatArray, side: int) -> FloatArray:
    """A map with the largest value of a disc around every pixel."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(values, disc), dtype=np.float32)


def resize(values: FloatArray, side: int) -> FloatArray:
    """A square map at another size: averaged when it shrinks, interpolated when it grows."""
    how = cv2.INTER_AREA if side < values.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (side, side), interpolation=how), dtype=np.float32)


def inner_distance(ring: FloatArray, size: int) -> FloatArray:
    """(size, size) float32: pixels to the edge of a polygon from inside, 0 outside.

    Parameters
    ----------
    ring
        (N, 2) polygon in pixels.
    """
    mask = np.zeros((size, size), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(ring * 16).astype(np.int32)], 1, shift=4)
    return np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5), dtype=np.float32)
