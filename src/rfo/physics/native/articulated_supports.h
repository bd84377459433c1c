#pragma once
// Contact of ellipsoids with planes that are fixed in the world.
//
// Of an ellipsoid of centre c, axes R and semi-axes a, the point furthest against the normal n of a
// plane is  c - R f  with  f = D R^T n / s,  D = diag(a^2),  s = |diag(a) R^T n|,  and s its
// distance from c along n. A vertex has a = 0, a disc one small semi-axis.

#include "articulated_welds.h"
#include "contact.h"

struct Support {
  int link;
  Quat turn;          // of the ellipsoid
  V3 n;               // normal of the plane
  V3 centre, x;       // of the ellipsoid; of contact; both about the origin of the tree
  V3 square, f;       // a^2 and f, in the ellipsoid's frame
  F size, depth, on;  // s; how deep x is [m]; 1 where it touches, else 0
};

// Adjoints of what the virtual power P of a support depends on, see articulated_adjoint.h.
struct SupportAdjoint {
  Spatial P_W, P_V, G;
  V3 origin;
};

constexpr real speck = real(1e-9);  // size of a vertex, in place of 0 [m]

struct Supports : Welds {
  using Welds::Welds;

  // False if it touches in no environment.
  FN bool support(int k, Support& at) {
    const int i = at.link = m.support_link[k];
    const real* axes = m.support_axes + 3 * k;
    at.turn = rot[i] * quat_of(m.support_quat + 4 * k);
    at.n = broadcast(m.support_normal + 3 * k);
    at.centre = pos[i] + rot[i].rotate(broadcast(m.support_pos + 3 * k));
    at.square = {F(axes[0] * axes[0]), F(axes[1] * axes[1]), F(axes[2] * axes[2])};
    const V3 local = at.turn.conjugate().rotate(at.n);
    const V3 scaled{local.x * at.square.x, local.y * at.square.y, local.z * at.square.z};
    at.size = SQRT(scaled.dot(local) + F(speck * speck));
    at.f = scaled * (F(1) / at.size);
    at.x = at.centre - at.turn.rotate(at.f);
    at.depth = F(m.support_height[k]) - at.n.dot(at.centre + origin[i]) + at.size;
    auto touches = at.depth > F(0);
    at.on = touches ? F(1) : F(0);
    return ANY(touches);
  }

  FN void support_forces() {
    for (int k = 0; k < m.supports; ++k) {
      Support at;
      if (!support(k, at)) continue;
      const V3 velocity = V[at.link].l + V[at.link].a.cross(at.x);
      const V3 push = contact_force(own.support_law + 5 * k, at.n, at.depth, velocity, at.on);
      f[at.link] = f[at.link] - Spatial{at.x.cross(push), push};
    }
  }

  // Power of the support under the virtual velocities W of its link.
  FN SupportAdjoint support_power(int k, const Support& at, const Spatial& W) {
    const Spatial& v = V[at.link];
    const V3 velocity = v.l + v.a.cross(at.x), w = W.l + W.a.cross(at.x);
    const auto law = own.support_law + 5 * k;
    const ContactAdjoint g = contact_force_adjoint(law, at.n, at.depth, velocity, at.on, w * F(-1));
    credit_law(law, at.n, at.depth, velocity, at.on, w);
    const V3 lowered = at.n * g.depth, g_x = W.a.cross(g.force) + g.velocity.cross(v.a);
    // adjoint of R^T n, through f and the size
    const V3 local = at.turn.conjugate().rotate(g_x);
    const V3 by_f = at.f * local.dot(at.f) -
                    V3{local.x * at.square.x, local.y * at.square.y, local.z * at.square.z};
    const V3 g_n = at.turn.rotate(by_f * (F(1) / at.size) + at.f * g.depth);
    return {Spatial{at.x.cross(g.force), g.force}, Spatial{at.x.cross(g.velocity), g.velocity},
            Spatial{at.x.cross(g_x) - at.centre.cross(lowered) + g_n.cross(at.n), g_x - lowered},
            lowered};
  }
};
