#pragma once
// How a surface acts on a point that moves against it.

#include "lanes.h"

// ------------------------------------------------------------------ rigid and soft bodies: a force

// The penalty law of ../articulated.py with constants (k_e, k_d, k_f, mu, k_h).
struct Contact {
  V3 vt;
  F vn, pressure, speed;
  F grip;  // min(k_f, mu N / |v_t|)
};
constexpr real speed_floor = real(1e-6);
template <class P>
FN Contact contact_law(const P& law, const V3& n, F depth, const V3& velocity) {
  Contact c;
  c.vn = n.dot(velocity);
  c.vt = velocity - n * c.vn;
  const F d = MAX(depth, F(0));
  c.pressure = d * F(law[0]) + MAX(-c.vn, F(0)) * (F(law[1]) + d * F(law[4]));
  c.speed = SQRT(c.vt.dot(c.vt) + F(speed_floor * speed_floor));
  c.grip = MIN(F(law[2]), c.pressure * F(law[3]) / c.speed);
  return c;
}

// Force on a point at this depth that moves with this velocity against a surface of normal n, times
// `on`.
template <class P>
FN V3 contact_force(const P& law, const V3& n, F depth, const V3& velocity, F on) {
  const Contact c = contact_law(law, n, depth, velocity);
  return (n * c.pressure - c.vt * c.grip) * on;
}

// The force, and the adjoints of its arguments, given its adjoint w.
struct ContactAdjoint {
  V3 force;
  F depth, on;
  V3 velocity, n;
};
template <class P>
FN ContactAdjoint contact_force_adjoint(const P& law, const V3& n, F depth, const V3& velocity,
                                        F on, const V3& w) {
  const Contact c = contact_law(law, n, depth, velocity);
  const V3 whole = n * c.pressure - c.vt * c.grip, g = w * on;
  const F along = c.vt.dot(g), none = F(0);
  auto slides = c.grip < F(law[2]);
  const F g_pressure = n.dot(g) - (slides ? along * F(law[3]) / c.speed : none);
  const V3 g_vt = g * -c.grip + c.vt * (slides ? along * c.grip / (c.speed * c.speed) : none);
  const F damping = F(law[1]) + MAX(depth, none) * F(law[4]);
  const F g_vn = ((c.vn < none) ? -g_pressure * damping : none) - n.dot(g_vt);
  const F g_depth = g_pressure * (F(law[0]) + MAX(-c.vn, none) * F(law[4]));
  return {whole * on, g_depth, whole.dot(w), g_vt + n * g_vn,
          g * c.pressure + velocity * g_vn - g_vt * c.vn};
}

// The adjoints of the law's constants.
struct LawAdjoint {
  F of[5];
};
template <class P>
FN LawAdjoint contact_law_adjoint(const P& law, const V3& n, F depth, const V3& velocity, F on,
                                  const V3& w) {
  const Contact c = contact_law(law, n, depth, velocity);
  const F along = c.vt.dot(w) * on, none = F(0), d = MAX(depth, none), into = MAX(-c.vn, none);
  auto slides = c.grip < F(law[2]);
  const F g_pressure = n.dot(w) * on - (slides ? along * F(law[3]) / c.speed : none);
  return {{g_pressure * d, g_pressure * into, slides ? none : -along,
           slides ? -along * c.pressure / c.speed : none, g_pressure * into * d}};
}

// --------------------------------------------------------------- nodes of a grid: another velocity

constexpr real LEAST_SQUARE = real(1e-30);

// What remains of a velocity r into a surface of normal n. The normal part vanishes; friction
// shortens the rest t to t max(0, 1 + mu (r.n)/|t|).
FN R3 slide(const R3& r, const R3& n, real friction) {
  const real into = r.dot(n);
  const R3 t = r - n * into;
  const real size = sqrt(larger(t.dot(t), LEAST_SQUARE));
  return t * larger(real(0), 1 + friction * into / size);
}

// Adjoint of `slide`: returns that of r, and leaves that of n in g_n.
FN R3 slide_adjoint(const R3& r, const R3& n, real friction, const R3& g, R3& g_n) {
  const real into = r.dot(n);
  const R3 t = r - n * into;
  const real size = sqrt(larger(t.dot(t), LEAST_SQUARE)),
             keep = larger(real(0), 1 + friction * into / size);
  const real along = keep > 0 ? g.dot(t) * friction / size : real(0);
  const R3 g_t = g * keep - t * (along * into / (size * size));
  const real g_into = along - g_t.dot(n);
  g_n = r * g_into - g_t * into;
  return g_t + n * g_into;
}

// And that of the friction coefficient.
FN real slide_by_friction(const R3& r, const R3& n, real friction, const R3& g) {
  const real into = r.dot(n);
  const R3 t = r - n * into;
  const real size = sqrt(larger(t.dot(t), LEAST_SQUARE));
  return 1 + friction * into / size > 0 ? g.dot(t) * into / size : real(0);
}
