"""What organelles look like in a section: membranes, cristae, granules, vesicles, lamellae."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parfocal_demo.volume.bodies import Body, Kind
from parfocal_demo.volume.neurites import Tissue
from parfocal_demo.volume.noise import Field, smooth_noise

_SMALLEST_PROFILE_PIXELS = 12


@dataclass(frozen=True)
class Patch:
    """One body in one section.

    Attributes:
        window: Rows and columns of the section that the arrays cover.
        cover: How much of each pixel the body hides, 0..1, float32.
        grey: Grey value of the body, float32.
        inside: Pixels that belong to the body, bool.
    """

    window: tuple[slice, slice]
    cover: Field
    grey: Field
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Frame:
    """Coordinates of a section seen from a body, in nanometres.

    Attributes:
        along: Position along the long axis.
        across: Position across it.
        depth: Depth below the outer membrane; negative outside.
        rho: 0 in the middle, 1 at the membrane.
        section: Sections away from the middle of the body.
        pixel_nm: Pixel size.
    """

    along: Field
    across: Field
    depth: Field
    rho: Field
    section: float
    pixel_nm: float


def draw_body(body: Body, z: int, tissue: Tissue) -> Patch | None:
    """Draw `body` in section `z` of `tissue`, or return None where it does not reach."""
    window = _window(body, z, tissue.cells.shape[1:])
    if window is None or body.girth(z) < 0.2:
        return None
    pixel_nm = tissue.pixel_nm
    frame = _frame(body, z, window, pixel_nm=pixel_nm)
    room = np.minimum(frame.depth, (tissue.wall[z][window] - 2.5) * pixel_nm)
    room[tissue.cells[z][window] != body.cell] = -4 * pixel_nm
    room = ndimage.gaussian_filter(room, 28 / pixel_nm)
    inside = room > 0
    if inside.sum() < _SMALLEST_PROFILE_PIXELS:
        return None
    lasting, fresh = np.random.default_rng(body.texture), np.random.default_rng([body.texture, z])
    grey = _PAINTERS[body.kind](replace(frame, depth=room), lasting, fresh)
    cover = np.clip(room / pixel_nm + 0.5, 0, 1).astype(np.float32)
    return Patch(window, cover, grey, inside)


def _window(body: Body, z: int, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    y, x = body.middle(z)
    reach = 1.3 * body.axes[0] + 4
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    bottom, right = min(shape[0], int(y + reach) + 1), min(shape[1], int(x + reach) + 1)
    if bottom - top < 4 or right - left < 4:
        return None
    return slice(top, bottom), slice(left, right)


def _frame(body: Body, z: int, window: tuple[slice, slice], *, pixel_nm: float) -> Frame:
    middle = body.middle(z)
    rows, columns = np.mgrid[window].astype(np.float32)
    rows -= middle[0]
    columns -= middle[1]
    rng = np.random.default_rng(body.texture)
    turn = body.angle + rng.normal(0, 0.03) * (z - body.centre[0])
    along = columns * np.cos(turn) + rows * np.sin(turn)
    across = -columns * np.sin(turn) + rows * np.cos(turn)
    across = across - body.bend * (along**2 - body.axes[0] ** 2 / 3)
    girth = body.girth(z)
    long, short = body.axes[0] * max(girth, 0.3), body.axes[1] * girth
    theta = np.arctan2(across / short, along / long)
    bumps = sum(
        rng.normal(0, 0.11)
        / wave
        * np.cos(wave * theta + rng.uniform(0, 6.3) + rng.normal(0, 0.25) * (z - body.centre[0]))
        for wave in range(1, 6)
    )
    rho = np.hypot(along / long, across / short) / (1 + bumps)
    depth = (1 - rho) * short * pixel_nm
    return Frame(
        along=np.asarray(along * pixel_nm, np.float32),
        across=np.asarray(across * pixel_nm, np.float32),
        depth=np.asarray(depth, np.float32),
        rho=np.asarray(rho, np.float32),
        section=z - body.centre[0],
        pixel_nm=pixel_nm,
    )


def _line(distance: Field, width: float) -> Field:
    return np.asarray(np.exp(-((distance / width) ** 2)), np.float32)


def _paint_mitochondrion(
    frame: Frame, rng: np.random.Generator, fresh: np.random.Generator
) -> Field:
    """Dark matrix, two membranes, and lamellar cristae with a pale lumen."""
    matrix = rng.normal(98, 11)
    spacing = rng.uniform(46, 78)
    contrast = rng.uniform(0.35, 1.0)
    lie = rng.normal(0.25, 0.5) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    phase, sway = rng.uniform(0, 6.3, 2), rng.uniform(8, 22)
    u = frame.along * np.cos(lie) + frame.across * np.sin(lie)
    v = -frame.along * np.sin(lie) + frame.across * np.cos(lie)
    ripple = 7 * smooth_noise(fresh, u.shape, scale=38 / frame.pixel_nm)
    bent = v + sway * np.sin(u / 95 + phase[0] + 0.3 * frame.section) + 0.0009 * u * u + ripple
    turn = bent / spacing + phase[1] + 0.13 * frame.section
    lamella = np.floor(turn)
    offset = np.abs(turn - lamella - 0.5) * spacing
    there = np.sin(u / 70 + 2.4 * lamella + 0.5 * frame.section) + 0.8 * smooth_noise(
        fresh, u.shape, scale=34 / frame.pixel_nm
    )
    shown = np.clip(1.4 * there + 0.6, 0, 1) * np.clip((frame.depth - 26) / 18, 0, 1) * contrast
    texture = smooth_noise(fresh, u.shape, scale=13 / frame.pixel_nm)
    grey = matrix + 8 * texture
    grey += shown * (62 * _line(offset, 8.5) - 40 * _line(offset - 18, 9))
    grey += 26 * _line(frame.depth - 18, 7)
    grey -= 46 * _line(frame.depth - 31, 9)
    return np.asarray(grey * (1 - _line(frame.depth - 4, 13)) + 30 * _line(frame.depth - 4, 13))


def _paint_dense_body(frame: Frame, rng: np.random.Generator, fresh: np.random.Generator) -> Field:
    """Dark granular content, sometimes with a pale vacuole, inside one membrane."""
    base = rng.normal(84, 16)
    coarse = smooth_noise(fresh, frame.rho.shape, scale=24 / frame.pixel_nm)
    fine = smooth_noise(fresh, frame.rho.shape, scale=11 / frame.pixel_nm)
    grey = base + rng.uniform(8, 22) * coarse + 9 * fine
    if rng.random() < 0.45:
        away = np.hypot(frame.along - rng.normal(0, 30), frame.across - rng.normal(0, 30))
        vacuole = np.clip((rng.uniform(18, 48) - away) / 14 + 0.5, 0, 1)
        grey = grey * (1 - vacuole) + 150 * vacuole
    return np.asarray(grey - 44 * _line(frame.depth - 5, 13), np.float32)


def _paint_lamellar_body(
    frame: Frame, rng: np.random.Generator, fresh: np.random.Generator
) -> Field:
    """Concentric membranes, as in an autophagosome: lamellae that are not cristae."""
    spacing = rng.uniform(34, 52)
    shift = 12 * smooth_noise(fresh, frame.rho.shape, scale=40 / frame.pixel_nm)
    rings = np.cos(2 * np.pi * (frame.depth + shift) / spacing)
    core = rng.normal(112, 18)
    grey = (
        core
        + 38 * rings * np.clip(frame.depth / 40, 0, 1)
        + 8 * smooth_noise(fresh, frame.rho.shape, scale=12 / frame.pixel_nm)
    )
    return np.asarray(grey - 55 * _line(frame.depth - 5, 13), np.float32)


def _paint_multivesicular_body(
    frame: Frame, rng: np.random.Generator, fresh: np.random.Generator
) -> Field:
    """A round body, pale to grey, packed with small vesicles."""
    base, crowding = rng.normal(140, 16), rng.uniform(0.35, 0.8)
    chance = crowding * (frame.pixel_nm / 34) ** 2 * (frame.depth > 24)
    centres = fresh.random(chance.shape) < chance
    grey = base + 7 * smooth_noise(fresh, frame.rho.shape, scale=12 / frame.pixel_nm)
    if centres.any():
        away = np.asarray(ndimage.distance_transform_edt(~centres), np.float32) * frame.pixel_nm
        grey += 16 * _line(away, 9) - 62 * _line(away - 15, 8)
    return np.asarray(grey - 80 * _line(frame.depth - 5, 12), np.float32)


def _paint_membrane_stack(
    frame: Frame, rng: np.random.Generator, fresh: np.random.Generator
) -> Field:
    """Parallel cisternae, as of a Golgi apparatus or a dense stack of thin processes."""
    spacing = rng.uniform(40, 60)
    sway = 10 * smooth_noise(fresh, frame.rho.shape, scale=55 / frame.pixel_nm)
    phase = (frame.across + sway) / spacing + rng.uniform()
    offset = np.abs(phase - np.floor(phase) - 0.5) * spacing
    base = rng.normal(128, 14)
    grey = (
        base
        - 70 * _line(offset, 11)
        + 9 * smooth_noise(fresh, frame.rho.shape, scale=13 / frame.pixel_nm)
    )
    edge = np.clip(frame.depth / 30, 0, 1)
    return np.asarray(grey * edge + 165 * (1 - edge), np.float32)


_Painter = Callable[[Frame, np.random.Generator, np.random.Generator], Field]
_PAINTERS: dict[Kind, _Painter] = {
    Kind.MITOCHONDRION: _paint_mitochondrion,
    Kind.DENSE_BODY: _paint_dense_body,
    Kind.LAMELLAR_BODY: _paint_lamellar_body,
    Kind.MULTIVESICULAR_BODY: _paint_multivesicular_body,
    Kind.MEMBRANE_STACK: _paint_membrane_stack,
}
