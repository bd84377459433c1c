"""Import of articulated models from MJCF, by way of the mujoco package's compiler.

Every MuJoCo joint becomes a link (see `rfo.physics.model`): a body with several joints is a chain
of links of which all but the last are massless, a body without joints is merged into the link that
carries it. What `Model` cannot express is refused by name.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from rfo.errors import SettingError
from rfo.physics.mjcf.constants import limit_constants
from rfo.physics.mjcf.contacts import (
    Contact,
    ContactParameters,
    Laws,
    Touching,
    ground_plane,
    refuse_contacts,
)
from rfo.physics.mjcf.cords import Ropes
from rfo.physics.mjcf.drawing import drawn_geoms
from rfo.physics.mjcf.flags import honour
from rfo.physics.mjcf.lengths import actuators, couplings, tendons
from rfo.physics.mjcf.support import name_of, notes_of, refuse_unsupported
from rfo.physics.mjcf.tree import inertias, links_of, rows, sites_of
from rfo.physics.mjcf.welds import welds
from rfo.physics.model import Joint, Model
from rfo.physics.reference import reference, stable_step


def load(
    source: str | Path,
    contact: ContactParameters | None = None,
    limit_ke: float | None = None,
    limit_kd: float | None = None,
    *,
    substep: float | None = None,
) -> Model:
    """Import an MJCF model.

    Tree, frames, masses, inertias, armature, damping, springs, limits, motors, geoms and gravity
    are those of the model that the mujoco package compiles. Link i is its joint i, so coordinates
    have its order, too. MuJoCo's rules decide which geoms touch: contype and conaffinity; never a
    body and its parent, nor what ``<exclude>`` names; and always what a ``<pair>`` names.

    Constants of contacts and limits follow from the masses that they hold and from the file's
    solref, solimp, friction, condim, priority, solmix and margin, see `rfo.physics.mjcf.constants`.
    `contact`, `limit_ke` and `limit_kd` stand in for them where they are given. A geom that carries
    ``user="ke kd kf mu kh"`` (kh may be left out) has those constants in a file that says so by
    ``<custom><numeric name="rfo_contact" data="1"/></custom>``; two geoms then have the mean of
    theirs. What else belongs to MuJoCo's constraint solver and integrator has no meaning here.

    Args:
        source: path of an MJCF file, or the MJCF text itself (recognised by its first ``<``).
        contact: constants of every geom, with the ground and with one another; None: from the file.
        limit_ke: stiffness beyond a joint limit [N/m or N m/rad]; None: from the file.
        limit_kd: damping beyond a joint limit [N s/m or N m s/rad]; None: from the file.
        substep: time step of the integration [s]. Constants from the file are softened, all by one
            factor, to be stable at it.

    Raises:
        FileNotFoundError: no file at `source`.
        SettingError: not valid MJCF, or an element that has no counterpart here, by name.
    """
    m = compiled(source)
    honour(m)
    refuse_unsupported(m)
    refuse_contacts(m)
    links, frames = links_of(m)
    touching, ropes = Touching(m, frames, margins=contact is None), Ropes(m, frames)
    mass, com, inertia = inertias(m, frames, len(links))
    hinged = np.isin(m.jnt_type, (Joint.SLIDE, Joint.HINGE))
    spring = np.where(hinged, m.qpos_spring[m.jnt_qposadr], 0.0)
    limited = (m.jnt_limited.astype(bool) & hinged)[m.dof_jntid]
    lower, upper = (m.jnt_range[:, i] + s * m.jnt_margin for i, s in ((0, 1), (1, -1)))
    bare = Model(
        parent=np.array([link.parent for link in links], np.int32),
        joint=m.jnt_type.astype(np.int32),
        pos=rows([link.pos for link in links], 3),
        quat=rows([link.quat for link in links], 4),
        axis=m.jnt_axis.copy(),
        mass=mass,
        com=com,
        inertia=inertia,
        q0=m.qpos0.copy(),
        armature=m.dof_armature.copy(),
        damping=m.dof_damping.copy(),
        stiffness=m.jnt_stiffness[m.dof_jntid],
        spring_reference=spring[m.dof_jntid],
        limit_lower=np.where(limited, lower[m.dof_jntid], -np.inf),
        limit_upper=np.where(limited, upper[m.dof_jntid], np.inf),
        limit_ke=np.zeros(m.nv),
        limit_kd=np.zeros(m.nv),
        actuators=actuators(m, ropes),
        **touching.spheres(),
        gravity=m.opt.gravity.copy(),
        **ground_plane(m, frames, touching.ground),
        link_names=tuple(link.name for link in links),
        dof_names=_dof_names(m),
        cords=ropes.cords,
        geoms=drawn_geoms(m, frames),
        keyframes={name_of(m, "key", k): m.key_qpos[k].copy() for k in range(m.nkey)},
        sites=sites_of(m, frames),
        notes=(*notes_of(m), *touching.notes),
        source=source,
    )
    laws = Laws(m, frames, reference(bare), contact)
    held = laws.at.mass_matrix, laws.gravity
    bare = replace(
        bare,
        tendons=tendons(m, ropes, bare.actuators, *held),
        couplings=couplings(m, ropes, *held),
    )

    def constants(soft: float) -> Model:
        """With those from the file times `soft`, stiffnesses times its square."""
        limits = limit_constants(m, laws.at.mass_matrix, laws.gravity, soft)

        def on_plane(contact: Contact) -> tuple[float, ...]:
            return laws.on_plane(contact, soft)

        return replace(
            bare,
            limit_ke=limits[0] if limit_ke is None else np.full(m.nv, limit_ke),
            limit_kd=limits[1] if limit_kd is None else np.full(m.nv, limit_kd),
            **touching.sphere_laws(on_plane),
            supports=touching.supports(on_plane),
            welds=welds(m, frames, laws.at, laws.gravity, soft),
            pairs=touching.pairs(lambda pair: laws.between(pair, soft)),
        )

    model = constants(1.0)
    longest = np.inf if substep is None else stable_step(model)
    return model if substep is None or substep <= longest else constants(longest / substep)


def compiled(source: str | Path) -> mujoco.MjModel:
    """The mujoco package's own model of a file or text.

    Raises:
        FileNotFoundError: no file at `source`.
        SettingError: not valid MJCF.
    """
    try:
        if isinstance(source, str) and source.lstrip().startswith("<"):
            return mujoco.MjModel.from_xml_string(source)
        if not Path(source).is_file():
            raise FileNotFoundError(f"no MJCF file at {source}")
        return mujoco.MjModel.from_xml_path(str(source))
    except ValueError as error:
        told = " ".join(str(error).split())
        missing = re.search("Error opening file '([^']*)'", told)
        if missing:
            path = Path(missing[1])
            folder = Path() if path.is_file() or path.is_absolute() else Path(str(source)).parent
            told = f"the file names {path.name}, and there is no {(folder / path).resolve()}"
            raise SettingError(told) from None
        raise SettingError(f"not valid MJCF: {told}") from None


def _dof_names(m: mujoco.MjModel) -> tuple[str, ...]:
    suffixes = {
        Joint.FREE: (":x", ":y", ":z", ":wx", ":wy", ":wz"),
        Joint.BALL: (":wx", ":wy", ":wz"),
    }
    return tuple(
        name_of(m, "joint", joint) + suffix
        for joint in range(m.njnt)
        for suffix in suffixes.get(Joint(m.jnt_type[joint]), ("",))
    )
