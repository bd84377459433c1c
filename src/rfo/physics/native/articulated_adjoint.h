#pragma once
// Adjoint of one control step, substep by substep, backwards.
//
// A substep solves  r(qdd; q, qd, u) = H qdd + bias - tau = 0.  For an adjoint g of qdd,
//
//     lambda = H^-1 g,     adjoint of (q, qd, u) = - dP / d(q, qd, u),
//     P = lambda . r   (qdd, lambda held fixed).
//
// P is the virtual power of all forces under the joint velocities lambda:  with W the link
// velocities that lambda gives,  P = sum_i W_i . (I_i A_i + V_i x* I_i V_i) - contact and joint
// powers.  Its derivative takes one sweep to the leaves (V, A, W) and one back: P_V, P_A, P_W are
// the forces dual to V, A, W, and G the wrench dual to a rigid displacement X of everything a link
// carries, since X moves a motion vector M by X x M and P_M . (X x M) = X . (M x* P_M).

#ifdef ALONE
#include "articulated_alone.h"
#else
#include "articulated_pairs_adjoint.h"
#endif
#include "articulated_solve.h"

// Adjoint of normalising: removes the part along the unit quaternion r = raw / |raw|.
FN Quat through_unit(const Quat& r, const Quat& g, F length) {
  return (g + r * -g.dot(r)) * (F(1) / length);
}

struct Adjoint : PairsAdjoint {
  At<F> gq = take(m.nq);  // adjoint of q after the substep, then before it
  At<F> gqd = take(m.nv);
  At<F> gu = take(m.nu);
  At<F> lambda = take(m.nv);
  At<Spatial> Wv = take<Spatial>(m.links);
  At<Spatial> P_V = take<Spatial>(m.links);
  At<Spatial> P_A = f;
  At<Spatial> P_W = take<Spatial>(m.links);
  At<Spatial> G = take<Spatial>(m.links);
  // dual to shifting the tree's origin with all that is told about it: for a link and those below
  At<V3> P_origin = take<V3>(m.links);
  using PairsAdjoint::PairsAdjoint;

  // Turns the adjoint of the state after the substep into that of the state before it and, in
  // lambda, that of qdd.
  FN void integrate_adjoint(int i) {
    const F dt = F(m.dt);
    const int iq = m.q_start[i], iv = m.v_start[i], kind = m.joint[i];
    if (kind == SLIDE || kind == HINGE) {
      gqd[iv] += dt * gq[iq];
      lambda[iv] = dt * gqd[iv];
      return;
    }
    const int ir = kind == FREE ? iq + 3 : iq, iw = kind == FREE ? iv + 3 : iv;
    const V3 w{qd[iw] + dt * qdd[iw], qd[iw + 1] + dt * qdd[iw + 1], qd[iw + 2] + dt * qdd[iw + 2]};
    const Quat raw = quat_at(q + ir);
    const F length = SQRT(raw.dot(raw));
    const Quat turn = raw * (F(1) / length);
    const Quat step = Quat{w.x, w.y, w.z, F(2) / dt} * (dt * real(0.5));  // 1 + dt/2 omega
    const Quat moved = kind == FREE ? step * turn : turn * step;
    const F stretch = SQRT(moved.dot(moved));
    const Quat g = through_unit(moved * (F(1) / stretch), quat_at(gq + ir), stretch);
    const Quat g_turn = kind == FREE ? step.conjugate() * g : g * step.conjugate();
    const Quat g_step = kind == FREE ? g * turn.conjugate() : turn.conjugate() * g;
    put_quat(gq + ir, through_unit(turn, g_turn, length));
    V3 gw = V3{gqd[iw], gqd[iw + 1], gqd[iw + 2]} + g_step.vector() * (dt * real(0.5));
    if (kind == FREE) {
      const V3 v{qd[iv] + dt * qdd[iv], qd[iv + 1] + dt * qdd[iv + 1],
                 qd[iv + 2] + dt * qdd[iv + 2]};
      const V3 gv1{gqd[iv], gqd[iv + 1], gqd[iv + 2]};
      const V3 gp{gq[iq], gq[iq + 1], gq[iq + 2]};
      const V3 gv = gv1 + (gv1.cross(w) + gp) * dt;
      gw = gw + v.cross(gv1) * dt;
      gqd[iv] = gv.x;
      gqd[iv + 1] = gv.y;
      gqd[iv + 2] = gv.z;
    }
    gqd[iw] = gw.x;
    gqd[iw + 1] = gw.y;
    gqd[iw + 2] = gw.z;
    for (int c = 0; c < m.v_count[i]; ++c) lambda[iv + c] = dt * gqd[iv + c];
  }

  // Power of link i's inertial force, and the wrench of displacing its inertia alone. P does not
  // change when V, A and W are displaced with it.
  FN void inertial_power(int i) {
    const Inertia I = link_inertia(i);
    const Spatial h = I * V[i];
    P_W[i] = I * A[i] + V[i].cross_force(h);
    P_A[i] = I * Wv[i];
    P_V[i] = Spatial{} - Wv[i].cross_force(h) - I * V[i].cross_motion(Wv[i]);
    G[i] =
        Spatial{} - V[i].cross_force(P_V[i]) - A[i].cross_force(P_A[i]) - Wv[i].cross_force(P_W[i]);
    P_origin[i] = V3{};
  }

  // Adds to the adjoints of its inertia. P is linear in the inertia: both terms have the form M . I
  // N, with motions M and N.
  FN void credit_inertia(int i) {
    const Quat back = rot[i].conjugate();
    const V3 x = pos[i] + rot[i].rotate(broadcast(own.com + 3 * i));
    const Spatial pairs[2][2] = {{Wv[i], A[i]}, {Wv[i].cross_motion(V[i]), V[i]}};
    for (const auto& pair : pairs) {
      const V3 &b = pair[0].a, &c = pair[1].a;
      const V3 at_b = pair[0].l + b.cross(x), at_c = pair[1].l + c.cross(x);
      const V3 g_x = back.rotate(at_c.cross(b) + at_b.cross(c)) * F(-own.mass[i]),
               p = back.rotate(b), q = back.rotate(c);
      const F g[6] = {p.x * q.x,
                      p.y * q.y,
                      p.z * q.z,
                      p.x * q.y + p.y * q.x,
                      p.x * q.z + p.z * q.x,
                      p.y * q.z + p.z * q.y};
      credit(own.mass + i, -at_b.dot(at_c));
      credit(own.com + 3 * i, g_x.x);
      credit(own.com + 3 * i + 1, g_x.y);
      credit(own.com + 3 * i + 2, g_x.z);
      for (int k = 0; k < 6; ++k) credit(own.inertia + 6 * i + k, -g[k]);
    }
  }

  FN void contact_power(int c) {
    V3 centre, x;
    const F depth = contact_point(c, centre, x);
    auto touches = depth > F(0);
    if (!ANY(touches)) return;
    const int i = m.contact_link[c];
    const V3 v = V[i].l + V[i].a.cross(x), w = Wv[i].l + Wv[i].a.cross(x);
    const auto law = own.contact_law + 5 * c;
    const F on = touches ? F(1) : F(0);
    const ContactAdjoint g = contact_force_adjoint(law, up, depth, v, on, w * F(-1));
    credit_law(law, up, depth, v, on, w);
    P_W[i] = P_W[i] - Spatial{x.cross(g.force), g.force};
    P_V[i] = P_V[i] + Spatial{x.cross(g.velocity), g.velocity};
    const V3 lowered = up * g.depth;
    const V3 g_x = Wv[i].a.cross(g.force) + g.velocity.cross(V[i].a) - lowered;
    G[i] = G[i] + Spatial{centre.cross(g_x), g_x};
    P_origin[i] = P_origin[i] - lowered;
  }

  FN void supports_power() {
    for (int k = 0; k < m.supports; ++k) {
      Support at;
      if (!support(k, at)) continue;
      const int i = at.link;
      const SupportAdjoint g = support_power(k, at, Wv[i]);
      P_W[i] = P_W[i] - g.P_W;
      P_V[i] = P_V[i] + g.P_V;
      G[i] = G[i] + g.G;
      P_origin[i] = P_origin[i] - g.origin;
    }
  }

  // From leaf to root: passes everything of link i on to its parent, and subtracts the joint's
  // share from the adjoints.
  FN void collect(int i) {
    const int p = m.parent[i], kind = m.joint[i], iq = m.q_start[i];
    const Spatial Vp = p < 0 ? Spatial{} : V[p];
    const Spatial joint = joint_sum(i, qd);
    const Spatial P_joint = P_V[i] - Vp.cross_force(P_A[i]);
    for (int j = m.v_start[i]; j < m.v_start[i] + m.v_count[i]; ++j) gqd[j] -= S[j].dot(P_joint);
    if (kind == FREE) {
      // its axes do not turn with it; moving it only changes what its contacts meet
      gq[iq] -= P_origin[i].x;
      gq[iq + 1] -= P_origin[i].y;
      gq[iq + 2] -= P_origin[i].z;
    } else {
      G[i] = G[i] + joint.cross_force(P_joint) + joint_sum(i, qdd).cross_force(P_A[i]) +
             joint_sum(i, lambda).cross_force(P_W[i]);
    }
    collect_cords(i, G);
    credit_coordinates(i, Spatial{} - G[i], gq);
    if (p < 0) {
      credit(own.gravity, P_A[i].l.x);
      credit(own.gravity + 1, P_A[i].l.y);
      credit(own.gravity + 2, P_A[i].l.z);
    } else {
      P_V[p] = P_V[p] + P_V[i] + joint.cross_force(P_A[i]);
      P_A[p] = P_A[p] + P_A[i];
      P_W[p] = P_W[p] + P_W[i];
      G[p] = G[p] + G[i];
      P_origin[p] = P_origin[p] + P_origin[i];
    }
  }

  FN void credit_joint(int j) {
    credit(own.armature + j, -lambda[j] * qdd[j]);
    credit(own.damping + j, -lambda[j] * (qd[j] + F(m.dt) * qdd[j]));
    if (m.dof_q[j] < 0) return;
    const F x = q[m.dof_q[j]], none = F(0);
    const F beyond = MAX(F(m.limit_lower[j]) - x, none) + MIN(F(m.limit_upper[j]) - x, none);
    credit(own.stiffness + j, lambda[j] * (F(own.spring_reference[j]) - x));
    credit(own.spring_reference + j, lambda[j] * F(own.stiffness[j]));
    credit(own.limit_ke + j, lambda[j] * beyond);
    credit(own.limit_kd + j, (beyond != none) ? -lambda[j] * qd[j] : none);
  }

  // The part of its armature's power that depends on its velocity: a lambda . (omega x v).
  FN void armature_adjoint(int j) {
    const V3 v{qd[j], qd[j + 1], qd[j + 2]}, w{qd[j + 3], qd[j + 4], qd[j + 5]};
    const V3 g = V3{lambda[j], lambda[j + 1], lambda[j + 2]} * F(own.armature[j]);
    const V3 by_v = g.cross(w), by_w = v.cross(g);
    const F by[6] = {by_v.x, by_v.y, by_v.z, by_w.x, by_w.y, by_w.z};
    for (int c = 0; c < 6; ++c) gqd[j + c] -= by[c];
    credit(own.armature + j, -w.cross(v).dot({lambda[j], lambda[j + 1], lambda[j + 2]}));
  }

#ifdef PARAMETERS
  FN void run(const real* q_in, const real* qd_in, const real* control, const real* parameters,
              const real* g_q_out, const real* g_qd_out, real* g_q, real* g_qd, real* g_control,
              real* g_parameters) {
    receive(parameters);
    run(q_in, qd_in, control, g_q_out, g_qd_out, g_q, g_qd, g_control);
    report(g_parameters);
  }
#endif
  FN void run(const real*, const real*, const real* control, const real* g_q_out,
              const real* g_qd_out, real* g_q, real* g_qd, real* g_control) {
    gather(g_q_out, m.nq, gq);
    gather(g_qd_out, m.nv, gqd);
    gather(control, m.nu, u);
    for (int c = 0; c < m.nu; ++c) gu[c] = F(0);
    for (int k = m.substeps - 1; k >= 0; --k) {
      restore(k, 0, q, m.nq);
      restore(k, m.nq, qd, m.nv);
      restore(k, m.nq + m.nv, qdd, m.nv);
      restore(k, m.nq + 2 * m.nv, H, m.nm);
      for (int i = 0; i < m.links; ++i) integrate_adjoint(i);
      solve(m, H, lambda);
      for (int i = 0; i < m.links; ++i) {
        place(i);
        move(i, true);
        Wv[i] = joint_sum(i, lambda);
        if (m.parent[i] >= 0) Wv[i] = Wv[i] + Wv[m.parent[i]];
        follow(i);
        inertial_power(i);
        credit_inertia(i);
      }
      measure();
      for (int c = 0; c < m.contacts; ++c) contact_power(c);
      supports_power();
      weld_powers(Wv, P_V, P_W, G, P_origin);
      cord_powers(lambda, Wv, P_V, P_A, P_W, G, P_origin);
      pair_powers(Wv, P_V, P_W, G, P_origin);
      for (int i = m.links - 1; i >= 0; --i) collect(i);
      for (int j = 0; j < m.nv; ++j) {
        gqd[j] -= lambda[j] * F(own.damping[j]);
        credit_joint(j);
        if (m.dof_q[j] < 0) continue;
        F by_q, by_qd;
        joint_force(j, by_q, by_qd);
        gq[m.dof_q[j]] += lambda[j] * by_q;
        gqd[j] += lambda[j] * by_qd;
      }
      for (int i = 0; i < m.links; ++i)
        if (m.joint[i] == FREE && weighs(m.v_start[i])) armature_adjoint(m.v_start[i]);
      hold_adjoint(lambda, gq, gqd);
      drive_adjoint(lambda, gq, gqd, gu);
    }
    scatter(gq, m.nq, g_q);
    scatter(gqd, m.nv, g_qd);
    scatter(gu, m.nu, g_control);
  }
};
