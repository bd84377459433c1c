"""A packed MJCF file is the same model, in any folder and without the files that it was made of."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfo.physics.mjcf.pack import MODEL, digest, model_name, pack

TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 {top}\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"

MAIN = """<mujoco model="arm"><!-- a remark -->
  <compiler meshdir="{meshes}" texturedir="pictures"/>
  <include file="parts/defaults.xml"/>
  <asset>
    <texture name="wood" type="2d" file="wood.png"/><material name="wood" texture="wood"/>
  </asset>
  <worldbody>
    <body pos="0.12345678901234567 0 1">
      <joint name="s" type="slide" axis="1 0 0" damping="0.1234567890123"/>
      <geom type="mesh" mesh="link" material="wood" mass="1.2345678901234567" contype="0"
            conaffinity="0"/>
      <include file="parts/hand.xml"/>
    </body>
  </worldbody>
  <actuator><motor joint="s" gear="10" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>"""
DEFAULTS = """<mujoco><asset><mesh file="link.obj"/></asset>
  <default><default class="thin"><geom rgba="0.3 0.3 0.3 1"/></default></default></mujoco>"""
HAND = """<mujoco><body pos="0 0 0.3"><include file="parts/joint.xml"/>
  <geom class="thin" size="0.1"/></body></mujoco>"""
JOINT = """<mujoco><joint name="h" axis="0 1 0" range="-30 30" limited="true"/></mujoco>"""


def write(folder, main="arm.xml", meshes="meshes", top=3):
    """A robot of five files in a folder of its own; returns its path."""
    for name in ("parts", "meshes", "pictures"):
        (folder / name).mkdir(parents=True)
    (folder / "parts" / "defaults.xml").write_text(DEFAULTS)
    (folder / "parts" / "hand.xml").write_text(HAND)
    (folder / "parts" / "joint.xml").write_text(JOINT)
    (folder / "meshes" / "link.obj").write_text(TETRAHEDRON.format(top=top))
    Image.new("RGB", (2, 2), "brown").save(folder / "pictures" / "wood.png")
    (folder / main).write_text(MAIN.format(meshes=meshes))
    return folder / main


def unpack(files, folder):
    folder.mkdir()
    for name, content in files.items():
        assert Path(name).name == name
        (folder / name).write_bytes(content)
    return folder / MODEL


def compiled(path):
    """Every number of the model that MuJoCo makes of a file."""
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(path))
    fields = [name for name in dir(model) if isinstance(getattr(model, name, None), np.ndarray)]
    files = ("paths", "_sizes")  # the names of files, and how long they are
    return {name: getattr(model, name) for name in fields if name not in files}


def assert_equal_models(ours, theirs):
    assert ours.keys() == theirs.keys() and len(ours) > 100
    for name in ours:
        if not name.endswith("pathadr"):  # where file names stand, which are others
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("absolute", [False, True])
def test_the_pack_compiles_to_the_same_model_without_the_original(absolute, tmp_path):
    home = tmp_path / "home"
    robot = write(home, meshes=str(home / "meshes") if absolute else "meshes")
    expected = compiled(robot)
    copy = unpack(pack(robot), tmp_path / "copy")
    shutil.rmtree(home)
    assert_equal_models(compiled(copy), expected)


def test_a_pack_tells_content_and_not_place_or_layout(tmp_path):
    here, there = write(tmp_path / "a"), write(tmp_path / "b" / "c", main="other.xml")
    there.write_text(there.read_text().replace("a remark", "another one").replace("\n  ", "\n\t"))
    assert pack(here) == pack(there) and digest(pack(here)) == digest(pack(there))
    assert model_name(pack(here)) == "arm"
    before = digest(pack(here))
    here.write_text(here.read_text().replace('gear="10"', 'gear="11"'))
    assert digest(pack(here)) != before
    assert digest(pack(write(tmp_path / "d", top=4))) != before  # another mesh


def test_an_attached_model_is_packed_with_its_own_assets(tmp_path):
    arm = write(tmp_path / "arm")
    scene = tmp_path / "scene.xml"
    scene.write_text(
        '<mujoco><asset><model name="arm" file="arm/arm.xml"/></asset><worldbody>'
        '<body><attach model="arm" prefix="left_"/></body></worldbody></mujoco>'
    )
    expected = compiled(scene)
    copy = unpack(pack(scene), tmp_path / "copy")
    shutil.rmtree(arm.parent)
    assert_equal_models(compiled(copy), expected)


def test_what_is_missing_or_no_xml_is_named(tmp_path):
    robot = write(tmp_path / "home")
    (tmp_path / "home" / "meshes" / "link.obj").unlink()
    with pytest.raises(FileNotFoundError, match=r"arm.xml names the file link.obj, which is not"):
        pack(robot)
    robot.write_text('<mujoco><include file="arm.xml"/></mujoco>')
    with pytest.raises(ValueError, match=r"arm.xml includes itself"):
        pack(robot)
    robot.write_text("<mujoco>")
    with pytest.raises(ValueError, match=r"arm.xml is not XML"):
        pack(robot)
