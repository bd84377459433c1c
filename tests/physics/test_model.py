"""The MJCF import: frames, inertias, contact spheres, motors are MuJoCo's; the rest is refused by name."""

from importlib.resources import files

import mujoco
import numpy as np
import pytest

from oracle import dynamics, motion, mujoco_dynamics, random_state, random_tree
from rfo.physics.mjcf import ContactParameters, load

CONTACT = ContactParameters(ke=1e4, kd=1e2, kf=1e3, mu=0.8)
SHIPPED = ("cartpole", "hopper", "ant")


def shipped(name: str) -> str:
    return files("rfo.envs").joinpath(f"assets/{name}.xml").read_text()


def source(case: str | int) -> str:
    return random_tree(case) if isinstance(case, int) else shipped(case)


def actuator(text: str) -> str:
    return one_body(outside=f"<actuator>{text}</actuator>")


def world(text: str) -> str:
    return one_body(outside=f"<worldbody>{text}</worldbody>")


def one_body(inside: str = "", outside: str = "", head: str = "") -> str:
    """A world with one hinged sphere."""
    return f"""<mujoco>{head}<worldbody><body name="arm"><joint name="elbow" type="hinge"/>
        <geom name="ball" size="0.1"/>{inside}</body></worldbody>{outside}</mujoco>"""


@pytest.mark.parametrize("case", [*range(12), *SHIPPED])
def test_dynamics_of_the_imported_arrays_are_mujocos(case):
    """Mass matrix and bias, derived from the arrays by the definitions, in a random state."""
    text = source(case)
    model, reference = load(text, CONTACT), mujoco.MjModel.from_xml_string(text)
    q, qd = random_state(model, np.random.default_rng(7))
    mass_matrix, bias, _ = mujoco_dynamics(reference, model, q, qd)
    ours = dynamics(model, q, qd)
    np.testing.assert_allclose(ours[0], mass_matrix, atol=1e-12 * np.abs(mass_matrix).max())
    np.testing.assert_allclose(ours[1], bias, atol=1e-12 * np.abs(bias).max())


@pytest.mark.parametrize("case", [*range(12), *SHIPPED])
def test_drawn_geoms_are_where_mujoco_puts_them(case):
    text = source(case)
    model, reference = load(text, CONTACT), mujoco.MjModel.from_xml_string(text)
    q, qd = random_state(model, np.random.default_rng(8))
    data = mujoco_dynamics(reference, model, q, qd)[2]
    placed = motion(model, q, qd)
    for geom, centre in zip(model.geoms, data.geom_xpos, strict=True):
        i, local = geom["body"], np.array(geom["pos"])
        world = placed.pos[i] + placed.rot[i] @ local if i >= 0 else local
        np.testing.assert_allclose(world, centre, atol=1e-12)


def test_contact_spheres_stand_for_the_colliding_geoms():
    """On a body merged into its parent: sphere 1, capsule 2 ends, box 8 corners; a decorative geom none."""
    text = """<mujoco><worldbody><geom type="plane" size="1 1 1" conaffinity="1"/>
      <body><freejoint/><geom size="0.3"/>
        <body pos="0.1 0.2 0.3" euler="10 20 30">
          <geom type="capsule" size="0.05 0.4" pos="1 0 0" euler="40 50 60" user="1 2 3 4"/>
          <geom type="box" size="0.1 0.2 0.3" pos="0 1 0" euler="70 80 90"/>
          <geom size="0.2" contype="0" conaffinity="0"/>
    </body></body></worldbody></mujoco>"""
    model, m = load(text, CONTACT), mujoco.MjModel.from_xml_string(text)
    q, qd = random_state(model, np.random.default_rng(3))
    data = mujoco_dynamics(m, model, q, qd)[2]
    placed = motion(model, q, qd)
    ours = placed.pos[0] + model.contact_pos @ placed.rot[0].T
    ends = [data.geom_xpos[2] + s * 0.4 * data.geom_xmat[2].reshape(3, 3)[:, 2] for s in (-1, 1)]
    signs = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1), indexing="ij")).reshape(3, 8).T
    corners = data.geom_xpos[3] + (signs * [0.1, 0.2, 0.3]) @ data.geom_xmat[3].reshape(3, 3).T
    np.testing.assert_allclose(ours, [data.geom_xpos[1], *ends, *corners], atol=1e-12)
    np.testing.assert_allclose(model.contact_radius, [0.3, 0.05, 0.05] + [0] * 8)
    names = ("ke", "kd", "kf", "mu", "kh")
    constants = np.stack([getattr(model, f"contact_{name}") for name in names], 1)
    np.testing.assert_allclose(constants[[0, -1]], [[1e4, 1e2, 1e3, 0.8, 0]] * 2)
    np.testing.assert_allclose(
        constants[1:3], [[1, 2, 3, 4, 0]] * 2, err_msg="a geom's own constants"
    )
    own = load(text.replace("1 2 3 4", "1 2 3 4 5"), CONTACT)
    assert own.contact_kh[1:3].tolist() == [5, 5]
    with pytest.raises(ValueError, match="ke kd kf mu kh"):
        load(text.replace("1 2 3 4", "1 2"), CONTACT)
    assert len(model.geoms) == 5, "all five are drawn"


def test_the_ground_is_the_plane_as_placed():
    text = """<mujoco><worldbody><geom type="plane" size="1 1 1" pos="1 0 2" euler="0 90 0"/>
      <body><freejoint/><geom size="0.3"/></body></worldbody></mujoco>"""
    model = load(text, CONTACT)
    np.testing.assert_allclose(model.ground_normal, [1, 0, 0], atol=1e-12)
    assert model.ground_height == pytest.approx(1)


def test_a_body_with_several_joints_is_a_chain_of_massless_links():
    text = """<mujoco><worldbody><body name="cup" pos="0 0 1">
      <joint name="x" type="slide" axis="1 0 0" range="-1 2" limited="true"/>
      <joint name="tilt" axis="0 1 0" pos="0 0 0.5" stiffness="3" springref="40" damping="2" armature="0.1"/>
      <geom size="0.1" mass="4"/></body></worldbody>
      <actuator><motor joint="tilt" gear="30"/></actuator></mujoco>"""
    model = load(text, CONTACT, limit_ke=5.0, limit_kd=6.0)
    assert model.link_names == ("cup:x", "cup") and model.dof_names == ("x", "tilt")
    np.testing.assert_array_equal(model.parent, [-1, 0])
    np.testing.assert_allclose(model.pos, [[0, 0, 1], [0, 0, 0.5]])
    np.testing.assert_allclose(model.mass, [0, 4])
    np.testing.assert_allclose(
        model.com[1], [0, 0, -0.5], err_msg="from the anchor of its last joint"
    )
    np.testing.assert_allclose(model.limit_lower, [-1, -np.inf])
    np.testing.assert_allclose(model.limit_upper, [2, np.inf])
    np.testing.assert_allclose([model.limit_ke, model.limit_kd], [[5, 5], [6, 6]])
    np.testing.assert_allclose(
        [model.stiffness, model.damping, model.armature], [[0, 3], [0, 2], [0, 0.1]]
    )
    assert model.spring_reference[1] == pytest.approx(np.deg2rad(40))
    assert (model.control_dof.tolist(), model.control_gear.tolist()) == ([1], [30])


def test_a_reference_coordinate_shifts_the_zero():
    """At q = ref the body stands as written."""
    text = """<mujoco><compiler angle="degree"/><worldbody><body pos="0 0 1" euler="0 0 30">
      <joint type="slide" axis="0 0 1" ref="0.7"/><joint axis="1 0 0" ref="50"/><geom size="0.1" pos="0 1 0"/>
      </body></worldbody></mujoco>"""
    model = load(text, CONTACT)
    np.testing.assert_allclose(model.q0, [0.7, np.deg2rad(50)])
    placed = motion(model, model.q0, np.zeros(2))
    np.testing.assert_allclose(placed.pos[1], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(placed.rot[1] @ [0, 1, 0], [-0.5, 0.75**0.5, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            one_body(
                outside='<tendon><fixed name="cord"><joint joint="elbow" coef="1"/></fixed></tendon>'
            ),
            "cord",
        ),
        (
            one_body(outside='<equality><joint name="lock" joint1="elbow"/></equality>'),
            "constraint 'lock'",
        ),
        (actuator('<position name="servo" joint="elbow"/>'), "'servo'.*biastype"),
        (actuator('<motor name="m" joint="elbow" forcerange="-1 1"/>'), "'m'.*force"),
        (actuator('<motor name="m" joint="elbow" ctrlrange="0 1"/>'), "'m'.*ctrl"),
        (actuator('<general name="m" joint="elbow" dyntype="filter"/>'), "'m'.*dyn"),
        (
            one_body('<site name="s"/>', '<actuator><motor name="m" site="s"/></actuator>'),
            "'m'.*trntype",
        ),
        (one_body('<geom name="can" type="cylinder" size=".1 .1"/>'), "'can'.*cylinder"),
        (one_body('<geom name="egg" type="ellipsoid" size=".1 .1 .2"/>'), "'egg'.*ellipsoid"),
        (
            one_body('<geom name="floor" type="plane" size="1 1 1"/>'),
            "plane only allowed in static",
        ),
        (
            one_body('<body><joint name="dry" frictionloss="1"/><geom size=".1"/></body>'),
            "'dry'.*frictionloss",
        ),
        (
            one_body('<body><joint name="b" type="ball" stiffness="1"/><geom size=".1"/></body>'),
            "'b'.*slide",
        ),
        (
            one_body('<body name="balloon" gravcomp="1"><joint/><geom size=".1"/></body>'),
            "'balloon'.*gravcomp",
        ),
        (
            world('<body><joint name="f" type="free" armature="1"/><geom size="1"/></body>'),
            "'f'.*armature",
        ),
        (one_body(head='<option density="1.2"/>'), "option 'density'"),
        (one_body(head='<option><flag contact="disable"/></option>'), "option 'disableflags'"),
        (one_body(head='<size nuser_geom="2"/>'), "ke kd kf mu"),
        (
            world('<geom type="plane" size="1 1 1"/><geom name="two" type="plane" size="1 1 1"/>'),
            "'two': only one plane",
        ),
        ("<mujoco><worldbody><bogus/></worldbody></mujoco>", "bogus"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(text, named):
    with pytest.raises(ValueError, match=named):
        load(text, CONTACT)


def test_a_neighbour_is_no_obstacle():
    """MuJoCo lets a body pass through its parent; nothing to refuse there."""
    load(one_body('<body><joint/><geom size="0.1"/></body>'), CONTACT)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.xml"):
        load(tmp_path / "absent.xml", CONTACT)
    (tmp_path / "one.xml").write_text(one_body())
    assert load(tmp_path / "one.xml", CONTACT).dof_names == ("elbow",)
