"""The figure of a replay in pyvista: rigid geoms, a deforming surface and particles on a floor.

It looks like the replay page (`rfo/view/figure.js`): same geoms, colours, floor and camera.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyvista as pv

from rfo.physics.reference import rotation
from rfo.view.replay import Replay

HAZE = "#dfe7ee"
CHECKS = ((198, 209, 220), (185, 198, 211))
"""Colours of the floor, whose checks are 1 m wide."""
NEGATIVE, ZERO, POSITIVE = (63, 127, 240), (239, 233, 225), (255, 90, 48)
"""Colours of activations and tints of -1, 0 and 1."""
ROOM = 1.6
"""Factor on the size of a soft body, so that it stays in the picture when it stretches."""
EYE = (1.9, -3.1, 1.15)
"""Place of the camera relative to what it looks at, over the figure's radius."""
VIEW_ANGLE = 38.0
"""[degrees]"""
SUN = (-3.0, -4.0, 8.0)
"""Direction that the light comes from."""
SHADOW = "#98a4b1"
LOOK = {"ambient": 0.25, "diffuse": 0.85, "specular": 0.2, "specular_power": 20}

Show = Callable[[int], None]
"""Moves what is drawn to its state in a frame."""


class Figure:
    """A replay in a plotter, with the camera that follows it.

    Args:
        plotter: where to draw.
        replay: what `rfo.view.replay.read` returns.
    """

    def __init__(self, plotter: pv.Plotter, replay: Replay):
        self._plotter = plotter
        self._frames = replay.frames
        geoms = replay.scene.get("geoms", [])
        self._moving = [geom for geom in geoms if geom["body"] >= 0]
        self._bodies = sorted({geom["body"] for geom in self._moving})
        count = len(replay.reward)
        self._middles = np.array([self._points(frame).mean(0) for frame in range(count)])
        self.radius = self._reach()
        """Radius of the figure in the first frame [m]."""
        self._shows: list[Show] = []
        planes = [geom for geom in geoms if _is_floor(geom)]
        radius = replay.scene.get("points", {}).get("radius", 0.0)
        self._ground = planes[0]["pos"][2] if planes else self._lowest(radius)
        self._sun: Any = pv.Light(color="#fff6ea", intensity=0.8, light_type="scene light")
        plotter.add_light(self._sun)
        plotter.add_light(pv.Light(color="#eaf3ff", intensity=0.3, light_type="headlight"))
        self._add_floor(planes)
        self._add_geoms([geom for geom in geoms if not _is_floor(geom)])
        if replay.scene.get("surface", {}).get("triangles"):
            self._add_surface(np.array(replay.scene["surface"]["triangles"]))
        if "points" in self._frames:
            self._add_particles(radius)

    def show(self, frame: int) -> None:
        """Draw one frame, with the camera beside the figure."""
        for show in self._shows:
            show(frame)
        target = self.target(frame)
        self._sun.focal_point = target
        self._sun.position = target + self.radius * np.array(SUN)
        camera: Any = self._plotter.camera
        camera.focal_point = target
        camera.position = target + self.radius * np.array(EYE)
        camera.up = (0.0, 0.0, 1.0)
        camera.view_angle = VIEW_ANGLE
        self._plotter.reset_camera_clipping_range()

    def target(self, frame: int) -> np.ndarray:
        """What the camera looks at: the figure's middle, at about its mean height over all frames
        [m]."""
        x, y, z = self._middles[frame]
        rise = 0.35 * self.radius
        return np.array([x, y, np.clip(self._middles[:, 2].mean(), z - rise, z + rise)])

    def _points(self, frame: int) -> np.ndarray:
        """Positions of all that moves (n, 3) [m]."""
        parts = [
            self._frames[name][frame] for name in ("vertices", "points") if name in self._frames
        ]
        if self._bodies:
            parts.append(self._frames["poses"][frame][self._bodies, :3])
        return np.concatenate(parts) if parts else np.zeros((1, 3))

    def _lowest(self, radius: float) -> float:
        """Lowest height in all frames, of particles with this radius [m]."""
        lows = [
            self._frames["poses"][:, geom["body"], 2].min() - sum(geom["size"])
            for geom in self._moving
        ]
        if "vertices" in self._frames:
            lows.append(self._frames["vertices"][..., 2].min())
        if "points" in self._frames:
            lows.append(self._frames["points"][..., 2].min() - radius)
        return float(min(lows, default=0.0))

    def _reach(self) -> float:
        far = [0.1]
        for geom in self._moving:
            place = self._frames["poses"][0, geom["body"], :3]
            size = np.linalg.norm(geom["pos"]) + max(geom["size"])
            far.append(np.linalg.norm(place - self._middles[0]) + size)
        for name in ("vertices", "points"):
            if name in self._frames:
                away = self._frames[name][0] - self._middles[0]
                far.append(ROOM * np.linalg.norm(away, axis=-1).max())
        return float(max(far))

    def _add_floor(self, planes: list[dict[str, Any]]) -> None:
        travelled = np.linalg.norm(self._middles, axis=-1).max()
        size = 4 * np.ceil(travelled + 30 * self.radius)
        texture = pv.Texture(_tile())
        texture.repeat = texture.mipmap = texture.interpolate = True
        for plane in planes or [{"pos": [0, 0, self._ground], "quat": [1, 0, 0, 0]}]:
            mesh = pv.Plane(i_size=size, j_size=size, i_resolution=1, j_resolution=1)
            mesh.active_texture_coordinates = size / 2 * mesh.active_texture_coordinates
            actor = self._plotter.add_mesh(mesh, texture=texture, ambient=0.3, diffuse=0.9)
            actor.user_matrix = _pose(plane["pos"], plane["quat"])

    def _add(self, mesh: pv.PolyData, **look: Any) -> Callable[[np.ndarray], None]:
        """Draw a mesh and its shadow on the ground; returns what moves both by a matrix (4, 4)."""
        solid: Any = self._plotter.add_mesh(mesh, **LOOK, **look)
        shadow: Any = self._plotter.add_mesh(mesh, color=SHADOW, lighting=False)
        along_x, along_y = SUN[0] / SUN[2], SUN[1] / SUN[2]
        ground, raised = self._ground, self._ground + 1e-3 * self.radius
        flat = np.array(
            [
                [1, 0, -along_x, along_x * ground],
                [0, 1, -along_y, along_y * ground],
                [0, 0, 0, raised],
                [0, 0, 0, 1],
            ]
        )

        def move(matrix: np.ndarray) -> None:
            solid.user_matrix, shadow.user_matrix = matrix, flat @ matrix

        move(np.eye(4))
        return move

    def _add_geoms(self, geoms: list[dict[str, Any]]) -> None:
        for geom in geoms:
            *colour, alpha = geom["rgba"]
            move = self._add(_shape(geom), color=colour, opacity=alpha, smooth_shading=True)
            local = _pose(geom["pos"], geom["quat"])
            move(local)
            if geom["body"] >= 0:
                self._shows.append(self._follow(move, geom["body"], local))

    def _follow(self, move: Callable[[np.ndarray], None], body: int, local: np.ndarray) -> Show:
        def show(frame: int) -> None:
            pose = self._frames["poses"][frame, body]
            move(_pose(pose[:3], pose[3:]) @ local)

        return show

    def _add_surface(self, triangles: np.ndarray) -> None:
        faces = np.insert(triangles, 0, 3, axis=1)
        mesh = pv.PolyData(self._frames["vertices"][0].copy(), faces)
        mesh.cell_data["colour"] = self._colours("activation", 0, len(triangles))
        self._add(mesh, scalars="colour", rgb=True)

        def show(frame: int) -> None:
            mesh.points = self._frames["vertices"][frame]
            mesh.cell_data["colour"] = self._colours("activation", frame, len(triangles))

        self._shows.append(show)

    def _add_particles(self, radius: float) -> None:
        ball = pv.Sphere(radius=radius, theta_resolution=10, phi_resolution=10)
        cloud = pv.PolyData(self._frames["points"][0].copy())
        cloud["colour"] = self._colours("tint", 0, cloud.n_points)
        drawn: Any = cloud.glyph(geom=ball, scale=False, orient=False)
        self._add(drawn, scalars="colour", rgb=True, smooth_shading=True)
        shape = np.asarray(ball.points)[None]

        def show(frame: int) -> None:
            places = self._frames["points"][frame][:, None]
            drawn.points[:] = (places + shape).reshape(-1, 3)
            colours = self._colours("tint", frame, len(places))
            drawn["colour"] = np.repeat(colours, ball.n_points, axis=0)

        self._shows.append(show)

    def _colours(self, name: str, frame: int, count: int) -> np.ndarray:
        """Colours (count, 3) of the values of a frame; of zeros where there are none."""
        values = self._frames[name][frame] if name in self._frames else np.zeros(count)
        return colours(values)


def colours(values: np.ndarray) -> np.ndarray:
    """Colours (n, 3) of values in [-1, 1] (n,), from 0 to 255."""
    low, middle, high = (np.array(colour) for colour in (NEGATIVE, ZERO, POSITIVE))
    share = np.abs(values)[:, None]
    return ((1 - share) * middle + share * np.where(values[:, None] < 0, low, high)).astype(
        np.uint8
    )


def _is_floor(geom: dict[str, Any]) -> bool:
    """Whether a geom is a plane that faces up."""
    _, x, y, _ = geom["quat"]
    return geom["type"] == "plane" and bool(np.hypot(x, y) < 1e-3)


def _shape(geom: dict[str, Any]) -> pv.PolyData:
    """The surface of a geom in its own frame."""
    kind, size = geom["type"], geom["size"]
    if kind == "sphere":
        return pv.Sphere(radius=size[0], theta_resolution=40, phi_resolution=24)
    if kind == "ellipsoid":
        ball = pv.Sphere(radius=1, theta_resolution=40, phi_resolution=24)
        ball.points = ball.points * np.array(size)
        return ball
    if kind == "capsule":
        return pv.Capsule(direction=(0, 0, 1), radius=size[0], cylinder_length=2 * size[1])
    if kind == "cylinder":
        return _flat(pv.Cylinder(direction=(0, 0, 1), radius=size[0], height=2 * size[1]))
    if kind == "mesh":
        faces = np.insert(np.array(geom["triangles"]), 0, 3, axis=1)
        return _flat(pv.PolyData(np.array(geom["vertices"], float), faces))
    if kind == "plane":  # a wall, 2 m to each side where its file gives it no size
        x, y, *_ = (2 * (side or 2) for side in (*size, 0, 0))
        return pv.Plane(i_size=x, j_size=y, i_resolution=1, j_resolution=1)
    x, y, z = size
    return _flat(pv.Box(bounds=(-x, x, -y, y, -z, z)))


def _flat(mesh: pv.PolyData) -> pv.PolyData:
    """The mesh with a normal for each side of an edge that is sharp."""
    normals: Any = mesh.triangulate().compute_normals(split_vertices=True, feature_angle=40)
    return normals


def _pose(pos: Any, quat: Any) -> np.ndarray:
    """Matrix (4, 4) of a place and a quaternion (w, x, y, z)."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(np.asarray(quat, float))
    matrix[:3, 3] = pos
    return matrix


def _tile() -> np.ndarray:
    """Picture of 2 m x 2 m of the floor: four checks with lines between them."""
    side = 128
    picture = np.empty((2 * side, 2 * side, 3), np.uint8)
    for i in (0, 1):
        for j in (0, 1):
            check = picture[side * i : side * (i + 1), side * j : side * (j + 1)]
            check[:] = CHECKS[(i + j) % 2]
            check[:2] = check[:, :2] = (150, 163, 180)
    return picture
