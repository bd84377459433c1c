"""A film shows what happens in the replay, at the speed that is asked for, with the figure in its
middle."""

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from rfo.cli import main as cli
from rfo.deploy import video
from rfo.deploy.figure import NEGATIVE, POSITIVE, ZERO, colours
from rfo.errors import RunError, SettingError
from rfo.view.replay import read

SIZE = (96, 64)
LAST = 239
"""Last frame of the replays in conftest.py, which move several metres along x."""


def middle(picture):
    """Mean colour of a patch in the middle of a picture."""
    height, width, _ = picture.shape
    patch = picture[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4]
    return patch.reshape(-1, 3).astype(float).mean(0)


def first_and_last(folder):
    return [middle(picture) for picture in video.draw(read(folder), np.array([0, LAST]), SIZE)]


def test_the_camera_follows_a_robot(run_folder):
    """Its skin is orange, more red than blue; the floor is more blue than red."""
    for red, _, blue in first_and_last(run_folder):
        assert red > blue + 50


@pytest.mark.parametrize("kind", ["soft_run_folder", "particle_run_folder"])
def test_colours_of_a_body_and_of_particles_tell_their_state(kind, request):
    """-1 in the first frame, which is blue, and 1 in the last, which is orange."""
    blue, orange = first_and_last(request.getfixturevalue(kind))
    assert blue[2] > blue[0] + 50 and orange[0] > orange[2] + 50


CORNERS = [[-0.3, -0.3, -0.3], [0.6, -0.3, -0.3], [-0.3, 0.6, -0.3], [-0.3, -0.3, 0.6]]
TETRAHEDRON = {"vertices": CORNERS, "triangles": [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]}
UPRIGHT = [0.707107, 0.707107, 0.0, 0.0]
"""Turns a plane so that it is a wall."""


@pytest.mark.parametrize(
    ("kind", "size", "more"),
    [
        ("box", [0.3, 0.3, 0.3], {}),
        ("cylinder", [0.3, 0.3], {}),
        ("ellipsoid", [0.2, 0.3, 0.4], {}),
        ("mesh", [0.6, 0.6, 0.6], TETRAHEDRON),
        ("plane", [0.4, 0.4, 1.0], {"quat": UPRIGHT}),
    ],
)
def test_every_kind_of_geom_is_drawn_in_its_colour(run_folder, kind, size, more):
    """It takes the place of the robot's torso, in green."""
    replay = read(run_folder)
    look = {"type": kind, "size": size, "rgba": [0.1, 0.9, 0.1, 1], **more}
    replay.scene["geoms"] = [replay.scene["geoms"][0], {**replay.scene["geoms"][1], **look}]
    red, green, blue = middle(next(video.draw(replay, np.array([LAST]), SIZE)))
    assert green > red + 50 and green > blue + 50


def test_colours_blend_linearly():
    between = (np.array(ZERO) + POSITIVE) // 2
    np.testing.assert_allclose(
        colours(np.array([-1.0, 0.0, 1.0, 0.5])), [NEGATIVE, ZERO, POSITIVE, between], atol=1
    )


@pytest.mark.parametrize(
    ("speed", "fps", "seconds", "shown"),
    [
        (1.0, 30, None, range(0, 240, 2)),
        (2.0, 30, None, range(0, 240, 4)),
        (0.5, 30, 1.0, range(30)),
        (1.0, 120, 0.05, [0, 0, 1, 1, 2, 2]),
        (1.0, 30, 100.0, range(0, 240, 2)),
    ],
)
def test_which_frame_each_picture_shows(speed, fps, seconds, shown):
    """Four seconds of 60 frames each."""
    frames = video.frames_shown(240, 1 / 60, speed, fps, seconds)
    np.testing.assert_array_equal(frames, shown)


def test_films_have_the_size_and_the_speed_that_they_should(run_folder, tmp_path, capsys):
    def record(name, *more):
        out = tmp_path / name
        words = ["record", str(run_folder), "--out", str(out), "--size", "96", "64", *more]
        assert cli.main(words) == 0
        assert capsys.readouterr().out == f"{out}: 5 pictures, 0.5 s\n"
        return out

    about = next(
        imageio_ffmpeg.read_frames(str(record("run.mp4", "--fps", "10", "--seconds", "0.5")))
    )
    assert about["size"] == SIZE and about["fps"] == 10
    assert about["duration"] == pytest.approx(0.5, abs=0.01)
    with Image.open(record("run.gif", "--fps", "10", "--speed", "8")) as film:
        assert (film.size, film.n_frames, film.info["duration"]) == (SIZE, 5, 100)
    record("run.png", "--fps", "10", "--speed", "8")
    pictures = sorted(tmp_path.glob("run-*.png"))
    assert [path.name for path in pictures] == [f"run-0000{i}.png" for i in range(5)]


@pytest.mark.parametrize(
    ("out", "settings", "field"),
    [
        ("run.avi", {}, "out"),
        ("run.mp4", {"size": (95, 64)}, "size"),
        ("run.mp4", {"speed": 0.0}, "speed"),
        ("run.mp4", {"fps": 0}, "fps"),
        ("run.mp4", {"seconds": float("nan")}, "seconds"),
    ],
)
def test_values_out_of_range_are_refused(run_folder, tmp_path, out, settings, field):
    with pytest.raises(SettingError) as refused:
        video.record(run_folder, tmp_path / out, **settings)
    assert refused.value.field == field


def test_what_is_missing_is_told_in_a_line(run_folder, tmp_path, monkeypatch):
    def refused(match):
        with pytest.raises(RunError, match=match):
            video.record(run_folder, tmp_path / "run.mp4", SIZE, seconds=0.1)

    with monkeypatch.context() as patch:
        patch.setenv("VTK_DEFAULT_OPENGL_WINDOW", video.OSMESA)
        patch.setattr(video, "find_library", lambda name: None)
        refused("no OpenGL library")
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "pyvista", None)
        refused(r"pip install 'rfo\[video\]'")
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
        refused("or name a .gif")
    (run_folder / "replay.npz").write_bytes(b"nothing")
    refused("is damaged")
    (run_folder / "replay.json").unlink()
    refused("holds no replay")
