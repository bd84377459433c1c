#pragma once
// The equations of motion.

#ifdef ALONE
#include "articulated_alone.h"
#else
#include "articulated_pairs.h"
#endif
#include "contact.h"

struct Equations : Pairs {
  using Pairs::Pairs;

  // H and the right-hand side of H qdd = tau - bias in the state (q, qd), without the forces along
  // lengths. The right-hand side is left in qdd.
  FN void equations() {
    if (m.filled)
      for (int n = 0; n < m.nm; ++n) H[n] = F(0);
    for (int i = 0; i < m.links; ++i) {
      place(i);
      move(i, false);
      inertia[i] = link_inertia(i);
      f[i] = inertia[i] * A[i] + V[i].cross_force(inertia[i] * V[i]);
    }
    for (int c = 0; c < m.contacts; ++c) {
      V3 centre, x;
      const F depth = contact_point(c, centre, x);
      auto touches = depth > F(0);
      if (!ANY(touches)) continue;
      const int i = m.contact_link[c];
      const V3 velocity = V[i].l + V[i].a.cross(x);
      const V3 push =
          contact_force(own.contact_law + 5 * c, up, depth, velocity, touches ? F(1) : F(0));
      f[i] = f[i] - Spatial{x.cross(push), push};
    }
    measure();
    weld_forces();
    support_forces();
    pair_forces();
    for (int i = m.links - 1; i >= 0; --i) {
      for (int j = m.v_start[i]; j < m.v_start[i] + m.v_count[i]; ++j) {
        F by_q, by_qd;
        qdd[j] = -S[j].dot(f[i]) - F(own.damping[j]) * qd[j];
        if (m.dof_q[j] >= 0) qdd[j] += joint_force(j, by_q, by_qd);
        const Spatial force = inertia[i] * S[j];
        for (int k = j; k >= 0; k = m.dof_parent[k]) *entry(j, k) = S[k].dot(force);
        H[m.row[j]] += F(own.armature[j]);
      }
      if (m.joint[i] == FREE && weighs(m.v_start[i])) {
        // an armature resists the classical acceleration
        const V3 lost = classical(i) * F(own.armature[m.v_start[i]]);
        qdd[m.v_start[i]] -= lost.x;
        qdd[m.v_start[i] + 1] -= lost.y;
        qdd[m.v_start[i] + 2] -= lost.z;
      }
      const int p = m.parent[i];
      if (p >= 0) {
        f[p] = f[p] + f[i];
        inertia[p] = inertia[p] + inertia[i];  // from here on the inertia of the subtree
      }
    }
  }
};
