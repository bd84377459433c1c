"""The MJCF import: frames, inertias, contact spheres, motors are MuJoCo's; the rest is refused by
name."""

import re
from importlib.resources import files
from pathlib import Path

import mujoco
import numpy as np
import pytest

import rfo.physics.mjcf
from oracle import dynamics, motion, mujoco_dynamics, random_state, random_tree
from rfo.errors import SettingError
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.mjcf.constants import surface
from rfo.physics.reference import MARGIN, reference, stable_step

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
    """On a body merged into its parent: sphere 1, capsule 2 ends, box 8 corners; a decorative geom
    none."""
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
    assert np.all(model.contact_ke == 1e4), "user data belong to whoever wrote them"
    said = '<custom><numeric name="rfo_contact" data="1"/></custom><worldbody>'
    text = text.replace("<worldbody>", said)
    model = load(text, CONTACT)
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
      <joint name="tilt" axis="0 1 0" pos="0 0 0.5" stiffness="3" springref="40" damping="2"
      armature="0.1"/> <geom size="0.1" mass="4"/></body></worldbody> <actuator><motor joint="tilt"
      gear="30"/></actuator></mujoco>"""
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
    assert (model.actuators.dof.tolist(), model.actuators.gear.tolist()) == ([1], [30])


def test_a_reference_coordinate_shifts_the_zero():
    """At q = ref the body stands as written."""
    text = """<mujoco><compiler angle="degree"/><worldbody><body pos="0 0 1" euler="0 0 30">
      <joint type="slide" axis="0 0 1" ref="0.7"/><joint axis="1 0 0" ref="50"/><geom size="0.1"
      pos="0 1 0"/> </body></worldbody></mujoco>"""
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
                '<site name="s" pos="1 0 0"/>',
                '<worldbody><site name="t"/><geom name="post" type="cylinder" size=".1 1"/>'
                '</worldbody><tendon><spatial name="cord"><site site="s"/><geom geom="post"/>'
                '<site site="t"/></spatial></tendon>',
            ),
            "'cord' wraps around geom 'post'.*over sites",
        ),
        (
            actuator('<muscle name="m" joint="elbow" lengthrange="0 1"/>'),
            "'m': its activation 'muscle'",
        ),
        (
            actuator('<dcmotor name="m" joint="elbow" motorconst="1" resistance="1"/>'),
            "'m': its activation 'dcmotor'",
        ),
        (
            one_body('<site name="s"/>', '<actuator><motor name="m" site="s"/></actuator>'),
            "'m': its transmission 'site'",
        ),
        (
            '<mujoco><worldbody><body><freejoint name="f"/><geom size="1"/></body></worldbody>'
            '<actuator><motor name="m" joint="f" gear="0 0 0 1 0 0"/></actuator></mujoco>',
            "'m': a torque on a free joint.*jointinparent",
        ),
        (
            '<mujoco><worldbody><body><joint type="ball" name="b"/><geom size="1"/></body>'
            '</worldbody><actuator><position name="m" joint="b"/></actuator></mujoco>',
            "'m': a position servo needs a slide",
        ),
        (
            one_body(
                '<body><joint name="j" actuatorfrcrange="-1 1"/><geom size=".1"/></body>',
                '<actuator><motor joint="j"/><motor joint="j"/></actuator>',
            ),
            "'j': several actuators.*forcerange",
        ),
        (
            one_body('<geom name="floor" type="plane" size="1 1 1"/>'),
            "plane only allowed in static",
        ),
        (
            one_body('<body><joint name="b" type="ball" stiffness="1"/><geom size=".1"/></body>'),
            "'b'.*slide",
        ),
        (
            one_body('<body name="balloon" gravcomp="1"><joint/><geom size=".1"/></body>'),
            "'balloon'.*gravcomp",
        ),
        (one_body(head='<option density="1.2"/>'), "option 'density'"),
        (one_body(head='<option><flag sleep="enable"/></option>'), "flag 'sleep'.*enabled"),
        (one_body(head='<option><flag override="enable"/></option>'), "flag 'override'.*enabled"),
        (one_body(head='<option wind="1 0 0"/>'), "option 'wind'"),
        (
            one_body(
                head='<size nuser_geom="2"/><custom><numeric name="rfo_contact" data="1"/></custom>'
            ),
            "ke kd kf mu",
        ),
        ("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>", "no joint"),
        ("<mujoco><worldbody><bogus/></worldbody></mujoco>", "bogus"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(text, named):
    with pytest.raises(SettingError, match=named):
        load(text, CONTACT)


NO_EFFECT = {
    "elements that a model may not have": "flex_|flexedge_|plugin_|body_plugin|geom_plugin"
    "|actuator_plugin|(jnt|tendon)_plasticadr",
    "looks": "cam_|light_|mat_(?!rgba$)|tex_|vis|stat|geom_castshadow|jnt_group|actuator_group"
    "|skin_|mesh_(normal|texcoord|faceno|facete|pathadr)|hfield_path"
    "|tendon_(group|matid|rgba|width)",
    "measurements": "sensor_|site_(?!bodyid$|pos$|quat$)",
    "names and data of the user": "name_|names|numeric_size|text_|tuple_|.*_user|paths",
    "derived by the compiler": "bvh_|oct_|[BDM]_|map|efm|ten_|tendon_(actuatorid|invweight0|treeid"
    "|treenum|type)|body_(bvhadr|bvhnum|conaffinity|contype"
    "|dofadr|dofnum|geomadr|geomnum|invweight0|margin|rootid|sameframe|simple|subtreemass|treeid)"
    "|geom_(aabb|rbound|sameframe)|jnt_(actuatorid|bodyid)|dof_(M0|Madr|bodyid|invweight0|length"
    "|parentid|simplenum|treeid)|actuator_(acc0|length0|lengthrange|actadr|ctrladr|outadr"
    "|historyadr|actnum)|tree_(body|dof)|mesh_(bvh|extrema|oct|poly|pos|quat|scale)|pair_signature",
    "settings of what is refused": "geom_fluid|actuator_(cranklength|ctrlspec)|tree_sleep_policy",
    "detection alone, no force": "geom_gap|pair_gap",
    "friction at rest, which has a rule of its own": "pair_solreffriction",
    "controls, which the policy gives": "key_(ctrl|mpos|mquat|plastic|time)",
}
"""Arrays of an MjModel that change nothing here, as regular expressions, by the reason."""

NO_EFFECT_OPTIONS = {
    "MuJoCo's solver, integrator and collision detection": "ccd_|cone|impratio|integrator"
    "|iterations|jacobian|ls_|noslip_|sdf_|sleep_tolerance|solver|timestep|tolerance",
    "acts with the override flag alone": "o_",
    "read by sensors alone": "magnetic",
}


def test_nothing_in_a_file_is_passed_over_without_a_word():
    """Each array of an MjModel and each option is read, refused, or known to have no effect,
    once."""
    folder = Path(rfo.physics.mjcf.__file__).parent
    texts = [path.read_text() for path in folder.glob("*.py")]
    read = {name for text in texts for name in re.findall(r"\bm\.(?:opt\.)?(\w+)", text)}
    read |= {name for text in texts for name in re.findall(r'"(\w+)"', text)}
    read |= {"disableflags", "enableflags"}
    m = mujoco.MjModel.from_xml_string(one_body())
    arrays = {x for x in dir(m) if x[0] != "_" and isinstance(getattr(m, x), np.ndarray)}
    arrays -= {"geom_user"}
    options = {x for x in dir(m.opt) if not x.startswith("_")}
    for names, table in ((arrays, NO_EFFECT), (options, NO_EFFECT_OPTIONS)):
        passed = {x for x in names if any(re.match(one, x) for one in table.values())}
        assert not names - read - passed, "what do these do?"
        assert not passed & read


DISABLED = """<mujoco><option><flag {flags}/></option><worldbody>
  <geom type="plane" size="1 1 1"/><body pos="0 0 1"><joint range="-10 10" limited="true"
  stiffness="2" damping="3" frictionloss="0" axis="0 1 0"/><geom size=".1"/>
  <body pos="0 0 1"><joint/><geom size=".1"/><body pos="0 0 1"><joint/><geom size=".1"/></body>
  </body></body></worldbody></mujoco>"""


def test_flags_switch_off_what_they_name():
    """A flag changes what it names and nothing else; `constraint` is several at once."""

    def seen(flags: str) -> set[str]:
        model = load(DISABLED.format(flags=flags), CONTACT)
        return {
            name
            for name, there in {
                "contact": len(model.contact_link) and len(model.pairs.link),
                "limit": np.isfinite(model.limit_lower).any(),
                "spring": model.stiffness.any(),
                "damper": model.damping.any(),
                "gravity": model.gravity.any(),
            }.items()
            if there
        }

    everything = {"contact", "limit", "spring", "damper", "gravity"}
    assert seen("") == everything == seen('eulerdamp="disable" energy="enable"')
    for flag in everything:
        assert seen(f'{flag}="disable"') == everything - {flag}
    assert seen('constraint="disable"') == everything - {"contact", "limit"}


MARGINS = """<mujoco><worldbody>
  <geom type="plane" size="1 1 1" margin=".01" solmix="3" friction=".7"/>
  <body pos="0 0 .095"><freejoint/><geom size=".1" margin=".03" solref=".05 .8"
  solimp=".8 .9 .002" friction=".5" priority="{priority}" condim="{condim}"/></body>
  </worldbody></mujoco>"""


@pytest.mark.parametrize(("priority", "condim"), [(0, 3), (1, 3), (0, 1), (1, 1)])
def test_what_two_geoms_make_of_their_settings_is_mujocos(priority, condim):
    m = mujoco.MjModel.from_xml_string(MARGINS.format(priority=priority, condim=condim))
    data = mujoco.MjData(m)
    mujoco.mj_forward(m, data)
    theirs, ours = data.contact[0], surface(m, 0, 1)
    np.testing.assert_allclose(ours.solref, theirs.solref)
    np.testing.assert_allclose(ours.solimp, theirs.solimp)
    assert ours.mu == (0 if theirs.dim == 1 else theirs.friction[0])
    model = load(MARGINS.format(priority=priority, condim=condim))
    assert model.contact_radius[0] == pytest.approx(0.1 + theirs.includemargin)


@pytest.mark.parametrize(
    "settings", ["", 'solref=".04 .5"', 'solimp=".5 .99 .01 .3 3"', 'solref="-900 -30"']
)
def test_a_ball_rests_as_deep_as_in_mujoco(settings):
    """Its weight over the chosen stiffness is MuJoCo's depth at rest."""
    text = f"""<mujoco><worldbody><geom type="plane" size="1 1 1" {settings}/>
      <body pos="0 0 .1"><joint type="slide" axis="0 0 1"/>
      <geom size=".1" mass="3" {settings}/></body></worldbody></mujoco>"""
    model, m = load(text), mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(m)
    while data.time < 3:
        mujoco.mj_step(m, data)
    assert 3 * 9.81 / model.contact_ke[0] == pytest.approx(-data.qpos[0], rel=0.02)


def test_constants_follow_what_they_hold():
    """Ten times the mass at the same frequencies: ten times the constants, the same stable step;
    friction as the file says; of condim 4 the sliding alone, which is told."""
    text = """<mujoco><worldbody><geom type="plane" size="1 1 1"/><body pos="0 0 1"><freejoint/>
      <geom name="hull" type="box" size=".1 .2 .3" mass="{mass}" friction=".3" {more}/>
      <body><joint axis="0 1 0" range="-10 10"/>
      <geom type="capsule" size=".02 .1" mass="{mass}"/></body>
      </body></worldbody></mujoco>"""
    light, heavy = (load(text.format(mass=mass, more="")) for mass in (0.1, 1))
    np.testing.assert_allclose(10 * light.contact_law[:, :3], heavy.contact_law[:, :3])
    np.testing.assert_allclose(10 * light.limit_ke, heavy.limit_ke)
    np.testing.assert_allclose(10 * light.limit_kd, heavy.limit_kd)
    assert stable_step(light) == pytest.approx(stable_step(heavy))
    assert set(heavy.contact_mu) == {1.0}, "the larger friction of the two counts: the ground's"
    twisting = load(text.format(mass=1, more='condim="4"'))
    np.testing.assert_allclose(twisting.contact_law, heavy.contact_law)
    assert any("torsional" in note and "'hull'" in note for note in twisting.notes)


def test_what_cannot_move_has_no_contact():
    """A sphere on the axis of a hinge: its mobility is 0 but for rounding."""
    text = """<mujoco><worldbody><geom type="plane" size="1 1 1" euler="10 20 30"/>
      <body pos=".1 .2 .3" euler="40 20 30"><joint axis="1 2 3"/><geom size=".1" pos=".1 .2 .3"/>
      </body></worldbody></mujoco>"""
    assert not load(text).contact_law[:, :3].any()


def test_the_reference_is_mujocos():
    """Mass matrix and velocities at q0, of all joint types."""
    for seed in range(8):
        text = random_tree(seed)
        model, m = load(text, CONTACT), mujoco.MjModel.from_xml_string(text)
        at, zero = reference(model), np.zeros(model.nv)
        expected, _, _ = mujoco_dynamics(m, model, model.q0, zero)
        np.testing.assert_allclose(at.mass_matrix, expected, atol=1e-12 * np.abs(expected).max())
        there = motion(model, model.q0, zero)
        np.testing.assert_allclose(at.linear, there.linear, atol=1e-12)
        np.testing.assert_allclose(at.angular, there.angular, atol=1e-12)


@pytest.mark.parametrize("joint", ["slide", "hinge"])
def test_a_step_of_the_stable_size_is_stable_and_a_longer_one_is_not(joint):
    """A joint beyond its limit, against the eigenvalues of a step of semi-implicit Euler."""
    text = f"""<mujoco><worldbody><body><joint type="{joint}" axis="0 1 0" range="1 2"/>
      <geom size=".1" pos=".3 0 0" mass="2"/></body></worldbody></mujoco>"""
    model = load(text, limit_ke=3e3, limit_kd=40.0)
    mass = reference(model).mass_matrix[0, 0]

    def growth(h):
        pull, kept = h * 3e3 / mass, 1 - h * 40.0 / mass
        return np.abs(np.linalg.eigvals([[1 - h * pull, h * kept], [-pull, kept]])).max()

    longest = stable_step(model) / MARGIN
    assert growth(0.999 * longest) <= 1 < growth(1.001 * longest)


def test_given_substeps_soften_what_is_chosen():
    text = one_body().replace('type="hinge"', 'type="hinge" range="-1 1"')
    chosen = load(text)
    soft = load(text, substep=10 * stable_step(chosen))
    np.testing.assert_allclose(soft.limit_ke, chosen.limit_ke / 100)
    np.testing.assert_allclose(soft.limit_kd, chosen.limit_kd / 10)
    assert stable_step(soft) == pytest.approx(10 * stable_step(chosen))
    np.testing.assert_allclose(load(text, substep=1e-5).limit_ke, chosen.limit_ke)


def test_a_body_that_is_excluded_from_the_world_meets_neither_plane_nor_box():
    ball = '<body name="a"><joint type="slide"/><geom size=".1"/></body>'
    apart = '<contact><exclude body1="world" body2="a"/></contact>'
    for ground in ('<geom type="plane" size="1 1 1"/>', '<geom type="box" size="1 1 .1"/>'):
        for exclude, count in (("", 1), (apart, 0)):
            text = f"<mujoco><worldbody>{ground}{ball}</worldbody>{exclude}</mujoco>"
            model = load(text, CONTACT)
            assert len(model.contact_link) + len(model.pairs.link) == count


def test_a_neighbour_is_no_obstacle():
    """MuJoCo lets a body pass through its parent; nothing to refuse there."""
    load(one_body('<body><joint/><geom size="0.1"/></body>'), CONTACT)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.xml"):
        load(tmp_path / "absent.xml", CONTACT)
    (tmp_path / "one.xml").write_text(one_body())
    assert load(tmp_path / "one.xml", CONTACT).dof_names == ("elbow",)
