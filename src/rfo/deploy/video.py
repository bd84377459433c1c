"""A run's replay as a film, drawn without a display."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from ctypes.util import find_library
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from rfo.errors import RunError, SettingError
from rfo.training.record import RunFolder
from rfo.view.replay import Replay, read

EGL, OSMESA = "vtkEGLRenderWindow", "vtkOSOpenGLRenderWindow"
"""VTK's two ways of drawing without a display. It takes the second where the first fails."""
SUFFIXES = (".mp4", ".gif", ".png")
LARGEST = 4096
"""Largest side of a picture [pixels]."""


def record(
    run_folder: Path,
    out: Path,
    size: tuple[int, int] = (960, 540),
    speed: float = 1.0,
    fps: int = 30,
    seconds: float | None = None,
) -> int:
    """Draw the replay of a run; the camera follows the figure.

    Args:
        run_folder: folder with a replay.
        out: ``.mp4`` or ``.gif``; or ``.png`` for single pictures ``out-00000.png``.
        size: width and height [pixels], even numbers.
        speed: seconds of the task that pass in a second of the film.
        fps: pictures a second; a GIF shows at most 50.
        seconds: length of the film, if it is shorter than the replay [s].

    Returns:
        number of pictures.

    Raises:
        SettingError: for a value out of range.
        RunError: if there is no replay, or something that is needed is not installed.
    """
    _check(out, size, speed, fps, seconds)
    try:
        replay = read(RunFolder.open(run_folder).path)
    except FileNotFoundError:
        raise RunError(
            f"{run_folder} holds no replay: it is written when a training finishes, for tasks that "
            "can be drawn"
        ) from None
    except (ValueError, EOFError) as error:
        raise RunError(f"the replay of {run_folder} is damaged: {error}") from None
    shown = frames_shown(len(replay.reward), replay.scene["dt"], speed, fps, seconds)
    pictures = draw(replay, shown, size)
    pictures = chain([next(pictures)], pictures)  # what can't be drawn leaves no file behind
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".mp4":
        _write_mp4(out, pictures, size, fps)
    elif out.suffix == ".gif":
        _write_gif(out, pictures, fps)
    else:
        _write_png(out, pictures)
    return len(shown)


def frames_shown(
    count: int, dt: float, speed: float, fps: int, seconds: float | None = None
) -> np.ndarray:
    """Frame of the replay that each picture of the film shows.

    Args:
        count: frames of the replay.
        dt: time between them [s].
        speed: seconds of the task in a second of the film.
        fps: pictures a second.
        seconds: length of the film; None: until the replay ends [s].
    """
    length = count * dt / speed if seconds is None else min(seconds, count * dt / speed)
    times = np.arange(max(1, round(length * fps))) * speed / fps
    return np.minimum(np.floor(times / dt + 1e-6).astype(int), count - 1)


def draw(replay: Replay, shown: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Pictures (height, width, 3) of some frames of a replay, from 0 to 255.

    Raises:
        RunError: if pyvista or a library that draws is not installed.
    """
    pyvista = require_pyvista()
    from rfo.deploy.figure import HAZE, Figure

    plotter = pyvista.Plotter(off_screen=True, window_size=size, lighting="none")
    try:
        _require_opengl(plotter.render_window)
        plotter.set_background(HAZE)
        figure = Figure(plotter, replay)
        for frame in shown:
            figure.show(int(frame))
            plotter.render()
            yield np.ascontiguousarray(plotter.screenshot(return_img=True)[..., :3])
    finally:
        plotter.close()


def require_pyvista() -> Any:
    """The package, set to draw without a display.

    Raises:
        RunError: if it is not installed.
    """
    try:
        import pyvista
    except ImportError:
        raise RunError("pyvista is not installed: pip install 'rfo[video]'") from None
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", EGL)
    return pyvista


def _require_opengl(window: Any) -> None:
    """Check that VTK found a library to draw with; where there is none, it ends the process."""
    if window.GetClassName() == OSMESA and find_library("OSMesa") is None:
        raise RunError(
            "there is no OpenGL library to draw with: on Debian and Ubuntu, "
            "apt-get install libegl1 libgl1-mesa-dri"
        )


def _check(out: Path, size: tuple[int, int], speed: float, fps: int, seconds: float | None) -> None:
    if out.suffix not in SUFFIXES:
        raise SettingError(f"a film ends in {', '.join(SUFFIXES)}, not '{out}'", "out")
    if not all(16 <= side <= LARGEST and side % 2 == 0 for side in size):
        raise SettingError(
            f"size must be two even numbers up to {LARGEST}, as in 960 540, not {size}", "size"
        )
    for name, value in (("speed", speed), ("fps", fps), ("seconds", seconds)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise SettingError(f"{name} must be positive, as in 1, not {value}", name)


def _write_mp4(out: Path, pictures: Iterator[np.ndarray], size: tuple[int, int], fps: int) -> None:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise RunError(
            "imageio-ffmpeg is not installed: pip install 'rfo[video]', or name a .gif"
        ) from None
    film = imageio_ffmpeg.write_frames(str(out), size, fps=fps, quality=8, macro_block_size=2)
    with closing(film):
        film.send(None)
        for picture in pictures:
            film.send(picture)


def _write_gif(out: Path, pictures: Iterator[np.ndarray], fps: int) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(picture).quantize(128) for picture in pictures)
    pause = max(20, round(1000 / fps))
    first.save(out, save_all=True, append_images=rest, duration=pause, loop=0)


def _write_png(out: Path, pictures: Iterator[np.ndarray]) -> None:
    from PIL import Image

    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(out.with_stem(f"{out.stem}-{number:05}"))
