"""Geoms of robot files: what they touch with, what stands in for them, and how they are drawn."""

import mujoco
import numpy as np
import pytest

from rfo.errors import SettingError
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.mjcf.drawing import simplified
from rfo.physics.mjcf.shapes import HULL_POINTS, hull, spread, with_stand_ins

CONTACT = ContactParameters(ke=1e4, kd=1e2, kf=1e3, mu=0.8)
WEDGE = "0 0 0  .4 0 0  .4 .2 0  0 .2 0  0 0 .3  0 .2 .3  .1 .1 .1"

BLOCK = "  ".join(f"{x} {y} {z}" for x in (0, 0.1) for y in (0, 0.2) for z in (0, 0.3))


def scene(geoms: str, more: str = "", ground: str = '<geom type="plane" size="1 1 1"/>') -> str:
    """A free body with a wedge among its assets."""
    return f"""<mujoco><asset><mesh name="wedge" vertex="{WEDGE}"/>
      <mesh name="block" vertex="{BLOCK}"/></asset><worldbody>{ground}
      <body name="one" pos="0 0 1"><freejoint/>{geoms}</body>{more}</worldbody></mujoco>"""


def test_a_mesh_touches_the_ground_by_the_corners_of_its_hull():
    """Of seven vertices one lies inside. The corners are where mujoco has the mesh."""
    text = scene('<geom type="mesh" mesh="wedge" pos=".1 .2 .3" euler="10 20 30"/>')
    model, m = load(text, CONTACT), mujoco.MjModel.from_xml_string(text)
    assert model.contact_radius.tolist() == [0] * 6
    data = mujoco.MjData(m)
    mujoco.mj_kinematics(m, data)
    corners = hull(m, 1) @ data.geom_xmat[1].reshape(3, 3).T + data.geom_xpos[1] - data.xpos[1]
    difference = np.abs(model.contact_pos[:, None] - corners).max(axis=-1)
    assert len(corners) == 6 and (difference.min(axis=1) < 1e-9).all()
    sides = np.linalg.norm(corners[:, None] - corners, axis=-1)
    assert sides.max() == pytest.approx(np.sqrt(0.4**2 + 0.2**2 + 0.3**2)), "the wedge's diagonal"


def test_spread_points_keep_the_extremes():
    """Of many points on an ellipsoid those that are kept reach nearly as far as all."""
    points = np.random.default_rng(0).normal(size=(500, 3))
    points = points / np.linalg.norm(points, axis=1, keepdims=True) * (1, 2, 3)
    few = spread(points, HULL_POINTS)
    assert len(few) == HULL_POINTS == len(np.unique(few, axis=0))
    assert np.ptp(few[:, 2]) > 0.95 * 6
    assert len(spread(points[:5], HULL_POINTS)) == 5


def size_of(geom: str) -> tuple[str, list[float], np.ndarray]:
    """The stand-in of a geom: kind, sizes, and the direction of its axis in the body."""
    m = mujoco.MjModel.from_xml_string(scene(geom))
    fitted = with_stand_ins(m, [1])
    axes = np.empty(9)
    mujoco.mju_quat2Mat(axes, fitted.geom_quat[1])
    kind = mujoco.mjtGeom(fitted.geom_type[1]).name.removeprefix("mjGEOM_").lower()
    return kind, fitted.geom_size[1].tolist(), axes.reshape(3, 3)[:, 2]


def test_primitives_stand_in_for_other_geoms():
    kind, size, _ = size_of('<geom type="cylinder" size=".1 .3"/>')
    assert kind == "capsule" and size[:2] == pytest.approx([0.1, 0.2])
    kind, size, _ = size_of('<geom type="cylinder" size=".3 .05"/>')
    assert kind == "box" and 4 * size[0] * size[1] == pytest.approx(np.pi * 0.3**2)
    for axis in range(3):
        sizes = np.full(3, 0.1)
        sizes[axis] = 0.4
        kind, size, along = size_of(
            f'<geom type="ellipsoid" size="{sizes}"/>'.translate({91: "", 93: ""})
        )
        assert kind == "capsule" and size[:2] == pytest.approx([0.1, 0.3])
        assert abs(along[axis]) == pytest.approx(1)
    kind, size, _ = size_of('<geom type="mesh" mesh="block"/>')
    assert kind == "box" and sorted(size) == pytest.approx([0.05, 0.1, 0.15])


def test_stand_ins_that_overlap_at_the_start_never_touch():
    """Two discs, edge to edge, would overlap as boxes of their area; apart they touch."""
    disc = '<geom type="cylinder" size=".3 .05" condim="6"/>'
    for distance, count in ((0.6001 * np.sqrt(0.5), 0), (0.8, 2)):
        place = f"{distance} {distance} 1"
        text = scene(disc, f'<body pos="{place}"><freejoint/>{disc}</body>', ground="")
        model = load(text, CONTACT)
        assert len(model.pairs.link) == count
        assert any("1 pairs of geoms never touch" in note for note in model.notes) == (count == 0)
        assert any("flat" in note for note in model.notes)
        assert any("torsional" in note for note in model.notes)


BALL = '<geom name="{}" size=".1" friction=".5"/>'


def test_a_pair_has_settings_of_its_own_and_passes_all_filters():
    """As mujoco has them: where both say something, the pair does."""
    other = f'<body name="two" pos="0 0 1.19"><freejoint/>{BALL.format("b")}</body>'
    pair = """<contact><exclude body1="one" body2="two"/><pair geom1="a" geom2="b" friction=".3 .3
      .1 .1 .1" solref=".05 .7" margin=".02" condim="{}"/></contact></mujoco>"""
    text = scene(BALL.format("a"), other).replace("</mujoco>", pair)
    for condim in (1, 3):
        m = mujoco.MjModel.from_xml_string(text.format(condim))
        data = mujoco.MjData(m)
        mujoco.mj_forward(m, data)
        model = load(text.format(condim))
        assert data.ncon == len(model.pairs.link) == 1
        assert model.pairs.law[0, 3] == (0 if condim == 1 else data.contact.friction[0, 0])
        assert model.pairs.radius[0] == pytest.approx(0.2 + data.contact.includemargin[0])
    stiff = load(text.format(3).replace(".05 .7", ".02 1"))
    assert stiff.pairs.law[0, 0] > 1.5 * model.pairs.law[0, 0]


def test_what_is_seen_alone_never_touches():
    """Meshes that collide with nothing are drawn, at most so finely, and mocap bodies stay."""
    geom = '<geom type="mesh" mesh="wedge" contype="0" conaffinity="0" rgba="1 0 0 1"/>'
    goal = '<body mocap="true" pos="1 0 0"><geom size=".1" contype="0" conaffinity="0"/></body>'
    model = load(scene(geom + '<geom size=".1" group="3"/>', goal), CONTACT)
    assert len(model.contact_link) == 1 and not len(model.pairs.link)
    assert [geom["type"] for geom in model.geoms] == ["plane", "mesh", "sphere"]
    mesh, ball = model.geoms[1:]
    assert ball["body"] == -1 and ball["pos"] == [1, 0, 0]
    assert len(mesh["vertices"]) == 7 and mesh["rgba"] == [1, 0, 0, 1]
    assert any("mocap" in note for note in model.notes)


def test_a_simplified_mesh_keeps_its_shape():
    """A sphere of 20,000 triangles: a few hundred are left, near its surface and all around."""
    u, v = np.meshgrid(np.linspace(0, np.pi, 101), np.linspace(0, 2 * np.pi, 101))
    points = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], -1).reshape(-1, 3)
    a = (101 * np.arange(100)[:, None] + np.arange(100)).ravel()
    triangles = np.concatenate(
        [np.stack([a, a + 1, a + 102], 1), np.stack([a, a + 102, a + 101], 1)]
    )
    few, corners = simplified(points, triangles, 500)
    assert 250 < len(corners) <= 500
    assert np.linalg.norm(few, axis=1) == pytest.approx(1, abs=0.1)
    edges = few[corners]
    volume = np.einsum("ij,ij->i", edges[:, 0], np.cross(edges[:, 1], edges[:, 2])).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.15)
    same = simplified(points, triangles, len(triangles))
    assert same[1] is triangles


def test_a_missing_mesh_is_named_with_the_place_where_it_was_looked_for(tmp_path):
    text = scene("").replace(
        '<mesh name="wedge"', '<mesh file="leg.stl" name="leg"/><mesh name="wedge"'
    )
    (tmp_path / "robot.xml").write_text(
        text.replace("<asset>", '<compiler meshdir="parts"/><asset>')
    )
    with pytest.raises(SettingError, match=rf"leg\.stl.*{tmp_path}/parts/leg\.stl"):
        load(tmp_path / "robot.xml")


def test_a_height_field_without_hills_is_a_plane_and_another_is_refused():
    field = (
        '<hfield name="land" nrow="2" ncol="2" size="9 9 2 .1" elevation="{}"/><mesh name="wedge"'
    )
    ground = '<geom name="land" type="hfield" hfield="land" pos="0 0 .3"/>'
    text = scene('<geom type="sphere" size=".1"/>', ground=ground)
    model = load(text.replace('<mesh name="wedge"', field.format("0 0 0 0")), CONTACT)
    assert model.ground_height == pytest.approx(0.3) and len(model.contact_link) == 1
    with pytest.raises(SettingError, match="'land': a hfield"):
        load(text.replace('<mesh name="wedge"', field.format("0 0 1 0")), CONTACT)
