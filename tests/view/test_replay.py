"""The replay page is complete and self-contained, refuses bad input, and works in a real
browser."""

import base64
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from rfo.view.grid import write_grid
from rfo.view.replay import fields_of, fill, write_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=800,500"
)
in_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"
)


def embedded(page):
    """The data of a page, and the text around it."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1]), text[: found.start()] + text[found.end() :]


def rewrite(folder, **arrays):
    with np.load(folder / "replay.npz") as file:
        np.savez(folder / "replay.npz", **{**file, **arrays})


def redescribe(folder, change):
    content = json.loads((folder / "replay.json").read_text())
    change(content)
    (folder / "replay.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("kind", "arrays"),
    [
        ("run_folder", {"poses", "reward"}),
        ("soft_run_folder", {"vertices", "activation", "reward"}),
        ("particle_run_folder", {"points", "tint", "reward"}),
    ],
)
def test_page_carries_every_frame_bit_for_bit(kind, arrays, request):
    folder = request.getfixturevalue(kind)
    data, _ = embedded(write_html(folder))
    with np.load(folder / "replay.npz") as file:
        assert set(file) == arrays
        for name in arrays:
            assert base64.b64decode(data[name]) == file[name].astype("<f4").tobytes()
        assert data["frames"] == len(file["reward"])
    scene = json.loads((folder / "replay.json").read_text())
    assert data["geoms"] == scene.get("geoms", [])
    assert data["triangles"] == scene.get("surface", {}).get("triangles", [])


def test_page_loads_nothing_from_elsewhere(run_folder):
    _, text = embedded(write_html(run_folder))
    assert "default-src 'none'" in text
    assert not re.search(r"<script[^>]*\bsrc=|<link\b|<img\b|@import", text)
    assert "The MIT License" in text, "three.js may only be passed on with its licence"


def test_a_link_in_the_place_of_the_page_is_not_followed(run_folder, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (run_folder / "replay.html").unlink(missing_ok=True)
    (run_folder / "replay.html").symlink_to(victim)
    page = write_html(run_folder)
    assert victim.read_text() == "precious" and not page.is_symlink() and embedded(page)


def test_arrays_that_would_run_code_are_not_read(run_folder):
    class Evil:
        def __reduce__(self):
            return exec, ("raise SystemExit('executed')",)

    objects = np.array([Evil()], dtype=object)
    np.savez(run_folder / "replay.npz", allow_pickle=True, reward=objects)
    with pytest.raises(ValueError, match="cannot be read"):
        write_html(run_folder)


def test_title_tells_task_algorithm_seed_and_return(run_folder):
    (run_folder / "config.json").write_text(
        json.dumps({"task": "ant", "algorithm": {"name": "sapo", "gamma": 0.99}, "seed": 7})
    )
    rewrite(run_folder, reward=np.full(240, 10.0))
    text = write_html(run_folder).read_text(encoding="utf-8")
    assert "<h1>ant · SAPO</h1>" in text
    assert "seed 7" in text
    assert "<dd>2,400</dd>" in text


@pytest.mark.parametrize(
    "evil", ["</script><script>alert(1)</script>", "<!--<script>", "</SCRIPT >"]
)
def test_names_cannot_break_out_of_the_page(run_folder, evil):

    def change(content):
        content["task"] = evil
        content["geoms"][0]["name"] = evil

    redescribe(run_folder, change)
    data, text = embedded(write_html(run_folder))
    assert data["geoms"][0]["name"] == evil
    assert evil not in text
    assert html.escape(evil) in text


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda folder: rewrite(folder, poses=np.zeros((240, 9, 6))),
            r"poses .* shape \(240, bodies, 7\)",
        ),
        (lambda folder: rewrite(folder, poses=np.zeros((239, 9, 7))), r"shape \(240, bodies, 7\)"),
        (lambda folder: rewrite(folder, reward=np.zeros(0)), r"shape \(frames,\)"),
        (lambda folder: rewrite(folder, reward=np.zeros((240, 1))), r"shape \(frames,\)"),
        (
            lambda folder: rewrite(folder, reward=np.where(np.arange(240) < 17, 0, np.nan)),
            "reward .* frame 17",
        ),
        (lambda folder: (folder / "replay.npz").write_bytes(b"PK broken"), "cannot be read"),
        (lambda folder: (folder / "replay.json").write_text("{"), "is not JSON"),
        (lambda folder: redescribe(folder, lambda c: c.pop("dt")), "lacks dt"),
        (
            lambda folder: redescribe(folder, lambda c: c["geoms"][1].update(type="cone")),
            "not cone",
        ),
        (
            lambda folder: redescribe(folder, lambda c: c["geoms"][3].update(size=[1])),
            "needs 2 sizes",
        ),
        (
            lambda folder: redescribe(
                folder, lambda c: c["geoms"][1].update(type="mesh", size=[1, 1, 1])
            ),
            "a mesh in replay.json lacks triangles, vertices",
        ),
        (lambda folder: redescribe(folder, lambda c: c["geoms"][1].update(body=9)), "has 9 bodies"),
        (lambda folder: redescribe(folder, lambda c: c["geoms"][1].pop("rgba")), "lacks rgba"),
        (lambda folder: redescribe(folder, lambda c: c.update(dt="1")), "malformed"),
        (lambda folder: redescribe(folder, lambda c: c.update(geoms=3)), "malformed"),
        (lambda folder: redescribe(folder, lambda c: c.update(geoms=[3])), "malformed"),
        (lambda folder: redescribe(folder, lambda c: c.update(surface=[])), "malformed"),
        (lambda folder: redescribe(folder, lambda c: c.update(dt=float("inf"))), "JSON"),
    ],
)
def test_malformed_replay_is_refused_by_name(run_folder, spoil, complaint):
    spoil(run_folder)
    with pytest.raises(ValueError, match=complaint):
        write_html(run_folder)


def corner(folder, number):
    redescribe(folder, lambda content: content["surface"]["triangles"][3].__setitem__(1, number))


def without_vertices(folder):
    with np.load(folder / "replay.npz") as file:
        np.savez(folder / "replay.npz", reward=file["reward"])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda folder: rewrite(folder, vertices=np.zeros((240, 8))),
            r"shape \(240, vertices, 3\)",
        ),
        (
            lambda folder: rewrite(folder, vertices=np.full((240, 8, 3), np.inf)),
            "vertices .* frame 0",
        ),
        (
            lambda folder: rewrite(folder, activation=np.zeros((240, 12, 1))),
            r"shape \(240, triangles\)",
        ),
        (
            lambda folder: rewrite(folder, activation=np.zeros((240, 11))),
            "has 11 triangles, but the surface has 12",
        ),
        (
            lambda folder: rewrite(folder, activation=np.full((240, 12), -1.5)),
            r"in \[-1, 1\], not -1.5",
        ),
        (lambda folder: corner(folder, 8), "corner 8, but vertices has 8"),
        (lambda folder: corner(folder, -1), "corner -1, but"),
        (lambda folder: corner(folder, 0.5), "whole numbers"),
        (
            lambda folder: redescribe(folder, lambda c: c["surface"]["triangles"][0].pop()),
            "three whole",
        ),
        (without_vertices, "but vertices has 0"),
    ],
)
def test_malformed_surface_is_refused_by_name(soft_run_folder, spoil, complaint):
    spoil(soft_run_folder)
    with pytest.raises(ValueError, match=complaint):
        write_html(soft_run_folder)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda folder: rewrite(folder, points=np.zeros((240, 64))), r"shape \(240, points, 3\)"),
        (
            lambda folder: rewrite(folder, tint=np.zeros((240, 63))),
            "tint has 63 points, but points has 64",
        ),
        (
            lambda folder: rewrite(folder, tint=np.full((240, 64), 1.5)),
            r"tint must be in \[-1, 1\]",
        ),
        (lambda folder: redescribe(folder, lambda c: c.pop("points")), "positive radius"),
    ],
)
def test_malformed_particles_are_refused_by_name(particle_run_folder, spoil, complaint):
    spoil(particle_run_folder)
    with pytest.raises(ValueError, match=complaint):
        write_html(particle_run_folder)


def test_folder_without_replay_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no replay"):
        write_html(tmp_path)


def browse(page, profile, *flags, address="", seconds):
    """Output of the browser after some seconds of the page's own (virtual) time."""
    budget = f"--virtual-time-budget={1000 * seconds}"
    command = [BROWSER, *FLAGS.split(), f"--user-data-dir={profile}", budget, *flags]
    done = subprocess.run(
        [*command, page.as_uri() + address], capture_output=True, text=True, timeout=110, check=True
    )
    return done.stdout


def picture(page, tmp_path, time):
    """Screenshot (height, width, 3) of the page at a time of the episode [s]."""
    file = tmp_path / f"{time}.png"
    browse(
        page, tmp_path / f"profile{time}", f"--screenshot={file}", address=f"#t={time}", seconds=1
    )
    return np.asarray(Image.open(file).convert("RGB"), float)


def orange(image):
    """Pixels of the figure's colour in the stage, away from the panels."""
    red, green, blue = np.moveaxis(image[100:400], -1, 0)
    return (red > 1.25 * green) & (green > 1.25 * blue)


def blue_and_red(image):
    """Pixels of the two end colours of the colour map in the stage, left of the legend."""
    red, _, blue = np.moveaxis(image[100:400, :520], -1, 0)
    return blue > 2 * red, red > 2 * blue


@in_browser
@pytest.mark.timeout(240)
def test_browser_draws_a_figure_that_walked_and_stays_in_view(run_folder, tmp_path):
    page = write_html(run_folder)
    image = picture(page, tmp_path, 3.5)
    assert image[100:400].std() > 5, "the stage is blank"
    rows, columns = np.nonzero(orange(image))
    assert 0.01 < orange(image).mean() < 0.5
    assert abs(columns.mean() - 400) < 80, "the camera lost the figure, which walked 4.5 m"
    assert rows.min() > 0 and rows.max() < 299


@in_browser
@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["soft_run_folder", "particle_run_folder"])
def test_browser_draws_what_deforms_in_its_colours(kind, request, tmp_path):
    page = write_html(request.getfixturevalue(kind))
    early, late = (picture(page, tmp_path, time) for time in (0.25, 3.75))
    for image, end in ((early, 0), (late, 1)):
        colour, other = blue_and_red(image)[end], blue_and_red(image)[1 - end]
        rows, columns = np.nonzero(colour)
        assert 0.02 < colour.mean() < 0.4 and not other.any()
        assert abs(columns.mean() - 400) < 40, "the camera lost the body, which hopped 5 m"
        assert rows.min() > 0 and rows.max() < 299 and columns.max() < 519
    moved = blue_and_red(early)[0] != blue_and_red(late)[1]
    assert moved.mean() > 0.02, "the body neither hops nor squeezes itself"
    if kind == "particle_run_folder":
        return
    legend = early[96:130, 500:780]
    assert (legend[..., 2] > 1.4 * legend[..., 0]).any() and (
        legend[..., 0] > 1.4 * legend[..., 2]
    ).any()


@in_browser
@pytest.mark.long
@pytest.mark.timeout(120)
def test_browser_plays_to_the_end_by_itself(run_folder, tmp_path):
    with np.load(run_folder / "replay.npz") as file:
        reward = file["reward"].astype(float)
    dom = browse(write_html(run_folder), tmp_path / "profile", "--dump-dom", seconds=6)

    def shown(name):
        found = re.search(rf'id="{name}"[^>]*>([^<]*)<', dom)
        assert found
        return found[1]

    assert shown("clock") == "3.98 / 3.98 s"
    assert float(shown("total").replace(",", "")) == pytest.approx(reward.sum(), abs=0.5)
    assert float(shown("reward")) == pytest.approx(reward[-1], abs=0.005)
    assert 'id="trouble" class="panel" role="alert" hidden' in dom
    assert 'id="legend" class="panel" hidden' in dom


def test_a_grid_holds_every_replay_and_the_viewer_once(run_folder, soft_run_folder, tmp_path):
    fields = [fields_of(folder) for folder in (run_folder, soft_run_folder)]
    page = write_grid(tmp_path / "replays.html", fields)
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script id="pages" type="application/json">(.*?)</script>', text, re.DOTALL)
    content = json.loads(found[1])
    assert content["replays"] == fields and text.count("The MIT License") == 1
    whole = fill(content["template"], content["replays"][1])
    assert whole == write_html(soft_run_folder).read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "2 replays" in text
