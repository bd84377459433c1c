#pragma once
// Articulated dynamics that the step, its adjoint and inspection share.
//
// Spatial vectors (Featherstone) are in world axes about the origin of their tree: the root link's
// own origin where the root is a FREE joint (so numbers stay small far from home), the world's
// origin otherwise. There a FREE joint's `qdd` is the spatial acceleration: its linear part is the
// classical one minus omega x v.

#include "articulated_parameters.h"
#include "contact.h"

enum { FREE = 0, BALL = 1, SLIDE = 2, HINGE = 3 };

FN Quat quat_at(At<const F> p) { return {p[1], p[2], p[3], p[0]}; }  // stored (w, x, y, z)
FN void put_quat(At<F> to, const Quat& g) {
  to[0] = g.w;
  to[1] = g.x;
  to[2] = g.y;
  to[3] = g.z;
}

struct Articulated : Varying<Model, Parameters> {
  At<F> q = take(m.nq);
  At<F> qd = take(m.nv);
  At<F> qdd = take(m.nv);
  At<F> H = take(m.nm);
  At<Quat> rot = take<Quat>(m.links);
  At<V3> pos = take<V3>(m.links);
  At<Inertia> inertia = take<Inertia>(m.links);
  At<Spatial> S = take<Spatial>(m.nv);
  At<Spatial> V = take<Spatial>(m.links);
  At<Spatial> A = take<Spatial>(m.links);
  At<Spatial> f = take<Spatial>(m.links);
  At<V3> origin = take<V3>(m.links);  // origin of the tree that the link belongs to, in the world

  const V3 up = broadcast(m.ground_normal);

  FN Articulated(const Call& call, const Model& model)
      : Varying(call, model, model.substeps, model.nq + 2 * model.nv + model.nm) {}

  FN Spatial base_acceleration() { return {V3{}, broadcast(own.gravity) * F(-1)}; }

  FN Spatial joint_sum(int i, At<const F> x) {
    const int j0 = m.v_start[i], n = m.v_count[i];
    if (m.joint[i] == FREE)
      return Spatial{{x[j0 + 3], x[j0 + 4], x[j0 + 5]}, {x[j0], x[j0 + 1], x[j0 + 2]}};
    Spatial sum = S[j0] * x[j0];
    for (int c = 1; c < n; ++c) sum = sum + S[j0 + c] * x[j0 + c];
    return sum;
  }

  // Of a link, or of the world (-1): its motion, and a point of its frame about the origin of its
  // tree.
  FN Spatial motion_of(At<const Spatial> v, int i) { return i < 0 ? Spatial{} : v[i]; }
  FN V3 rate_at(const Spatial& v, const V3& x) { return v.l + v.a.cross(x); }
  FN V3 point_of(int i, const real* p) {
    return i < 0 ? broadcast(p) : pos[i] + rot[i].rotate(broadcast(p));
  }

  // Entry (j, k) of H, where k is j or above it.
  FN At<F> entry(int j, int k) { return H + (m.row[j] + m.level[j] - m.level[k]); }

  // Pose of link i and its joint axes.
  FN void place(int i) {
    const V3 unit[3] = {{F(1), F(0), F(0)}, {F(0), F(1), F(0)}, {F(0), F(0), F(1)}};
    const int p = m.parent[i], kind = m.joint[i];
    At<const F> qi = q + m.q_start[i];
    At<Spatial> s = S + m.v_start[i];
    if (kind == FREE) {
      pos[i] = V3{};
      origin[i] = V3{qi[0], qi[1], qi[2]};
      rot[i] = quat_at(qi + 3).unit();
      for (int c = 0; c < 3; ++c) {
        s[c] = Spatial{V3{}, unit[c]};
        s[3 + c] = Spatial{unit[c], V3{}};
      }
      return;
    }
    origin[i] = p < 0 ? V3{} : origin[p];
    const Quat turn = quat_of(m.quat + 4 * i);
    const V3 offset = broadcast(m.pos + 3 * i);
    const V3 anchor = p < 0 ? offset : pos[p] + rot[p].rotate(offset);
    const Quat base = p < 0 ? turn : rot[p] * turn;
    const V3 local_axis = broadcast(m.axis + 3 * i);
    if (kind == BALL) {
      pos[i] = anchor;
      rot[i] = base * quat_at(qi).unit();
      for (int c = 0; c < 3; ++c) {
        const V3 axis = rot[i].rotate(unit[c]);
        s[c] = Spatial{axis, anchor.cross(axis)};
      }
      return;
    }
    const V3 axis = base.rotate(local_axis);
    if (kind == SLIDE) {
      pos[i] = anchor + axis * qi[0];
      rot[i] = base;
      s[0] = Spatial{V3{}, axis};
    } else {
      F sine, cosine;
      sincos_lanes(qi[0] * real(0.5), sine, cosine);
      pos[i] = anchor;
      rot[i] = base * Quat{local_axis.x * sine, local_axis.y * sine, local_axis.z * sine, cosine};
      s[0] = Spatial{axis, anchor.cross(axis)};
    }
  }

  // Adds to the adjoint of q what displaces all that joint i carries; G is the wrench dual to that.
  // The place of a FREE joint is left out.
  FN void credit_coordinates(int i, const Spatial& G, At<F> gq) {
    const int kind = m.joint[i], iq = kind == FREE ? m.q_start[i] + 3 : m.q_start[i];
    At<const Spatial> s = S + m.v_start[i];
    if (kind == SLIDE || kind == HINGE) {
      gq[iq] += s[0].dot(G);
      return;
    }
    const Quat raw = quat_at(q + iq);
    if (kind == FREE) {
      const F length = SQRT(raw.dot(raw));
      put_quat(gq + iq,
               quat_at(gq + iq) + Quat{G.a.x, G.a.y, G.a.z, F(0)} * rot[i] * (F(2) / length));
    } else {
      const Quat torque{s[0].dot(G), s[1].dot(G), s[2].dot(G), F(0)};
      put_quat(gq + iq, quat_at(gq + iq) + raw * torque * (F(2) / raw.dot(raw)));
    }
  }

  // Spatial inertia of link i alone.
  FN Inertia link_inertia(int i) {
    const auto b = own.inertia + 6 * i;
    const Quat& r = rot[i];
    const V3 ex = r.rotate({F(1), F(0), F(0)}), ey = r.rotate({F(0), F(1), F(0)}),
             ez = ex.cross(ey);
    // world inertia = R B R^T, by its columns in the link's axes
    const V3 bx = ex * F(b[0]) + ey * F(b[3]) + ez * F(b[4]);
    const V3 by = ex * F(b[3]) + ey * F(b[1]) + ez * F(b[5]);
    const V3 bz = ex * F(b[4]) + ey * F(b[5]) + ez * F(b[2]);
    const F mass = F(own.mass[i]);
    const V3 c =
        pos[i] + ex * F(own.com[3 * i]) + ey * F(own.com[3 * i + 1]) + ez * F(own.com[3 * i + 2]);
    const V3 h = c * mass;
    const F hc = h.dot(c);
    return Inertia{mass, h,
                   Sym{bx.x * ex.x + by.x * ey.x + bz.x * ez.x + hc - h.x * c.x,
                       bx.y * ex.y + by.y * ey.y + bz.y * ez.y + hc - h.y * c.y,
                       bx.z * ex.z + by.z * ey.z + bz.z * ez.z + hc - h.z * c.z,
                       bx.x * ex.y + by.x * ey.y + bz.x * ez.y - h.x * c.y,
                       bx.x * ex.z + by.x * ey.z + bz.x * ez.z - h.x * c.z,
                       bx.y * ex.z + by.y * ey.z + bz.y * ez.z - h.y * c.z}};
  }

  // Velocity and acceleration of link i; with_qdd adds the joint accelerations.
  FN void move(int i, bool with_qdd) {
    const int p = m.parent[i];
    const Spatial joint = joint_sum(i, qd);
    const Spatial Vp = p < 0 ? Spatial{} : V[p];
    V[i] = Vp + joint;
    A[i] = (p < 0 ? base_acceleration() : A[p]) + Vp.cross_motion(joint);
    if (with_qdd) A[i] = A[i] + joint_sum(i, qdd);
  }

  // Whether a degree of freedom has an armature.
  FN bool weighs(int j) { return VARIES || ANY(F(own.armature[j]) != F(0)); }

  // Classical minus spatial linear acceleration of a FREE joint.
  FN V3 classical(int i) {
    At<const F> v = qd + m.v_start[i];
    return V3{v[3], v[4], v[5]}.cross({v[0], v[1], v[2]});
  }

  // Centre and lowest point x of a contact sphere about the tree's origin; returns the depth of x
  // in the ground [m].
  FN F contact_point(int c, V3& centre, V3& x) {
    const int i = m.contact_link[c];
    centre = pos[i] + rot[i].rotate(broadcast(m.contact_pos + 3 * c));
    x = centre - up * F(m.contact_radius[c]);
    return F(m.ground_height) - up.dot(x + origin[i]);
  }

  // Adds to the adjoint of a contact's constants; w is the virtual velocity of the point where it
  // pushes.
  template <class P>
  FN void credit_law(const P& law, const V3& n, F depth, const V3& velocity, F on, const V3& w) {
    const LawAdjoint g = contact_law_adjoint(law, n, depth, velocity, on, w);
    for (int k = 0; k < 5; ++k) credit(law + k, g.of[k]);
  }

  // Force of the spring and the limits of a SLIDE or HINGE, and its derivatives.
  FN F joint_force(int j, F& by_q, F& by_qd) {
    const F x = q[m.dof_q[j]];
    const F low = F(m.limit_lower[j]) - x, high = F(m.limit_upper[j]) - x;
    const F ke = F(own.limit_ke[j]), kd = F(own.limit_kd[j]), none = F(0);
    auto below = low > none;
    auto above = high < none;
    by_qd = (below ? -kd : none) + (above ? -kd : none);
    by_q = (below ? -ke : none) + (above ? -ke : none) - F(own.stiffness[j]);
    return (F(own.spring_reference[j]) - x) * F(own.stiffness[j]) + (below ? low * ke : none) +
           (above ? high * ke : none) + by_qd * qd[j];
  }
};
