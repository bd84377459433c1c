#pragma once
// Forces along lengths (../lengths.py): actuators, tendons, couplings.
//
// A force F along a length of rates J adds J^T F to the right-hand side, and w J J^T to H: what the
// force takes back within the step, as it is linearly implicit in the velocity, and with `ahead` in
// the length. For adjoints: the power of its part of the residual is
// P = (J . lambda) (w J . qdd - F). Where J is that of a cord, `Cords` differentiates what P has of
// it.

#ifdef CORDLESS
#include "articulated_cordless.h"
#else
#include "articulated_cords.h"
#endif

// A force along a length, and its derivatives by the length, the speed and what drives it.
struct Pull {
  F force, by_length, by_speed, by_drive;
  F weight, weight_by_length, weight_by_speed, weight_by_drive;
  // for an actuator: by the force before clamping, and by the slope of that force in the speed
  F by_force, weight_by_force, weight_by_slope;
};
// An activation after a step, and its derivatives; `on` is 1 unless its range clamps it, else 0.
struct Activation {
  F value, by_before, by_control, on;
};
// A force along a length l whose error is r = l - p(m), with another length m.
struct Coupled {
  F force, weight;
  F slope, bend;  // p', p''
};

struct Driven : Cords {
  At<F> u = take(m.nu);
  using Cords::Cords;

  FN F sum(int r, At<const F> x) {
    F total = F(0);
    for (int k = m.length_start[r]; k < m.length_start[r + 1]; ++k)
      total += F(coef(r, k)) * x[m.length_dof[k]];
    return total;
  }
  FN F length(int r) {
    if (corded(r)) return cord_length(r);
    F total = F(0);
    for (int k = m.length_start[r]; k < m.length_start[r + 1]; ++k) {
      const int i = m.dof_q[m.length_dof[k]];
      if (i >= 0) total += F(m.length_coef[k]) * q[i];
    }
    return total;
  }
  FN void add(int r, F force, At<F> to) {
    for (int k = m.length_start[r]; k < m.length_start[r + 1]; ++k)
      to[m.length_dof[k]] += F(coef(r, k)) * force;
  }
  // H += w (J_r J_s^T + J_s J_r^T), or w J_r J_r^T if s is r.
  FN void stiffen(int r, int s, F w) {
    for (int k = m.length_start[r]; k < m.length_start[r + 1]; ++k)
      for (int l = m.length_start[s]; l < m.length_start[s + 1]; ++l) {
        const int i = m.length_dof[k], j = m.length_dof[l];
        if (r == s && i < j) continue;
        const auto both = coef(r, k) * coef(s, l) * real(r != s && i == j ? 2 : 1);
        *(i > j ? entry(i, j) : entry(j, i)) += w * F(both);
      }
  }

  // ------------------------------------------------------------------------------------ actuators

  FN Activation activation(int c) {
    const F h = F(m.dt), low = F(m.activation_range[2 * c]),
            high = F(m.activation_range[2 * c + 1]);
    const F decay = F(1) - h * F(own.activation_decay[c]), rate = h * F(own.activation_rate[c]);
    const F free = q[m.activation_q[c]] * decay + rate * u[c];
    auto within = (free > low) & (free < high);
    return {MIN(MAX(free, low), high), within ? decay : F(0), within ? rate : F(0),
            within ? F(1) : F(0)};
  }
  FN F drive_of(int c) {
    if (m.activation_q[c] < 0) return u[c];
    return m.activation_early[c] ? activation(c).value : q[m.activation_q[c]];
  }

  // For a step of length h. A clamped force is constant. So that H does not jump, w fades as the
  // force exceeds its range: to the value that gives a single mass its share of the step.
  FN Pull actuator(int c, F h, F x) {
    const auto gain = own.actuator_gain + 3 * c, bias = own.actuator_bias + 3 * c;
    const F none = F(0), ahead = h * F(m.actuator_ahead[c]), mass = F(m.actuator_mass[c]);
    const F v = sum(c, qd), l = length(c) + ahead * v;
    const F by_drive = F(gain[0]) + F(gain[1]) * l + F(gain[2]) * v;
    const F by_length = F(gain[1]) * x + F(bias[1]);
    const F by_speed = F(gain[2]) * x + F(bias[2]) + ahead * by_length;
    const F force = by_drive * x + F(bias[0]) + F(bias[1]) * l + F(bias[2]) * v;
    const F held = MIN(MAX(force, F(m.force_range[2 * c])), F(m.force_range[2 * c + 1]));
    auto free = held == force;
    auto resists = by_speed < none;
    const F full = resists ? -h * by_speed : none;
    const F full_by_drive = resists ? -h * (F(gain[2]) + ahead * F(gain[1])) : none;
    auto same = held * force > none;
    const F ratio = free ? F(1) : (same ? held / force : none),
            faded = ratio * (mass + full) - mass;
    auto counts = free | (faded > none);
    const F weight = free ? full : MAX(faded, none);
    const F by_force = free ? none : (counts ? -ratio * (mass + full) / force : none);
    const F on = free ? F(1) : none;
    return {held,
            on * by_length,
            on * by_speed,
            on * by_drive,
            weight,
            by_force * by_length,
            by_force * by_speed,
            by_force * by_drive + (counts ? ratio * full_by_drive : none),
            on,
            by_force,
            (counts & resists) ? -h * ratio : none};
  }

  FN void drive(F h) {
    for (int c = 0; c < m.nu; ++c) {
      const Pull pull = actuator(c, h, drive_of(c));
      add(c, pull.force, qdd);
      if (m.actuator_soft[c]) stiffen(c, c, pull.weight);
    }
  }
  FN void activate() {
    for (int c = 0; c < m.nu; ++c)
      if (m.activation_q[c] >= 0) q[m.activation_q[c]] = activation(c).value;
  }

  // ---------------------------------------------------------------------------- tendons, couplings

  FN Pull tendon(int t, F h) {
    const F none = F(0), l = length(m.nu + t), v = sum(m.nu + t, qd);
    const F k = F(own.tendon_stiffness[t]), ke = F(m.tendon_limit_ke[t]),
            kd = F(m.tendon_limit_kd[t]);
    const F slack = F(m.tendon_rest[2 * t]) - l, taut = F(m.tendon_rest[2 * t + 1]) - l;
    const F low = F(m.tendon_limit_lower[t]) - l, high = F(m.tendon_limit_upper[t]) - l;
    const F creep = F(m.tendon_creep[t]), speed = SQRT(v * v + creep * creep);
    const F grip = F(own.tendon_friction[t]) / speed, damping = F(own.tendon_damping[t]);
    auto beyond = (low > none) | (high < none);
    auto sprung = (slack > none) | (taut < none);
    const F stop = beyond ? kd : none;
    return {(MAX(slack, none) + MIN(taut, none)) * k + (MAX(low, none) + MIN(high, none)) * ke -
                (damping + grip + stop) * v,
            (sprung ? -k : none) + (beyond ? -ke : none),
            -damping - stop - grip * creep * creep / (speed * speed),
            none,
            F(own.tendon_armature[t]) + h * (damping + grip),
            none,
            -h * grip * v / (speed * speed),
            none};
  }

  FN int first(int e) { return m.nu + m.tendons + e; }
  FN int second(int e) { return first(e) + m.couplings; }
  FN Coupled coupling(int e, F h) {
    const real* p = m.coupling_poly + 5 * e;
    const F l = length(first(e)), x = length(second(e)), ke = F(m.coupling_ke[e]),
            kd = F(m.coupling_kd[e]);
    F value = F(p[4]), slope = F(0), bend = F(0);  // Horner's scheme
    for (int k = 3; k >= 0; --k) {
      bend = bend * x + slope * F(2);
      slope = slope * x + value;
      value = value * x + F(p[k]);
    }
    const F rate = sum(first(e), qd) - slope * sum(second(e), qd);
    return {-ke * (l - value) - (kd + h * ke) * rate, h * (kd + h * ke), slope, bend};
  }

  FN void hold(F h) {
    for (int t = 0; t < m.tendons; ++t) {
      Pull pull = tendon(t, h);
      // of the armature what does not follow qdd
      if (corded(m.nu + t)) pull.force -= F(own.tendon_armature[t]) * cord_bend(m.nu + t);
      add(m.nu + t, pull.force, qdd);
      stiffen(m.nu + t, m.nu + t, pull.weight);
    }
    for (int e = 0; e < m.couplings; ++e) {
      const Coupled at = coupling(e, h);
      add(first(e), at.force, qdd);
      add(second(e), -at.slope * at.force, qdd);
      stiffen(first(e), first(e), at.weight);
      stiffen(second(e), second(e), at.weight * at.slope * at.slope);
      stiffen(first(e), second(e), -at.weight * at.slope);
    }
  }

  // ------------------------------------------------------------------------------------- adjoints

  // Add to the adjoints of q and qd what is due to a length and to its rate; `cord_powers` has done
  // so for cords.
  FN void add_length(int r, F g, At<F> gq) {
    if (corded(r)) return;
    for (int k = m.length_start[r]; k < m.length_start[r + 1]; ++k) {
      const int i = m.dof_q[m.length_dof[k]];
      if (i >= 0) gq[i] += F(m.length_coef[k]) * g;
    }
  }
  FN void add_rate(int r, F g, At<F> gqd) {
    if (!corded(r)) add(r, g, gqd);
  }
  FN F power(int r, const Pull& pull, At<const F> lambda, At<F> gq, At<F> gqd) {
    const F a = sum(r, qdd), b = sum(r, lambda);
    add_length(r, b * (pull.by_length - a * pull.weight_by_length), gq);
    add_rate(r, b * (pull.by_speed - a * pull.weight_by_speed), gqd);
    return b * (pull.by_drive - a * pull.weight_by_drive);
  }

  // Add to the adjoints of parameters.
  FN void credit_actuator(int c, F x, const Pull& pull, At<const F> lambda) {
    const F a = sum(c, qdd), b = sum(c, lambda), v = sum(c, qd),
            ahead = F(m.dt) * F(m.actuator_ahead[c]);
    const F g_force = b * (pull.by_force - a * pull.weight_by_force),
            g_slope = -a * b * pull.weight_by_slope;
    const F g[3] = {g_force, g_force * (length(c) + ahead * v) + g_slope * ahead,
                    g_force * v + g_slope};
    for (int k = 0; k < 3; ++k) {
      credit(own.actuator_gain + 3 * c + k, g[k] * x);
      credit(own.actuator_bias + 3 * c + k, g[k]);
    }
  }
  FN void credit_tendon(int t, At<const F> lambda) {
    const int r = m.nu + t;
    const F a = sum(r, qdd), b = sum(r, lambda), v = sum(r, qd), l = length(r), none = F(0);
    const F slack = F(m.tendon_rest[2 * t]) - l, taut = F(m.tendon_rest[2 * t + 1]) - l;
    const F creep = F(m.tendon_creep[t]), resisted = b * (v + a * F(m.dt));
    credit(own.tendon_stiffness + t, b * (MAX(slack, none) + MIN(taut, none)));
    credit(own.tendon_damping + t, -resisted);
    credit(own.tendon_friction + t, -resisted / SQRT(v * v + creep * creep));
    credit(own.tendon_armature + t, -(corded(r) ? cord_bend(r) : a) * b);
  }

  // Add to the adjoints of q, qd and u before a substep; gq holds those of the activations after
  // it.
  FN void drive_adjoint(At<const F> lambda, At<F> gq, At<F> gqd, At<F> gu) {
    for (int c = 0; c < m.nu; ++c) {
      const F x = drive_of(c);
      const Pull pull = actuator(c, F(m.dt), x);
      const F g = power(c, pull, lambda, gq, gqd);
      credit_actuator(c, x, pull, lambda);
      const int i = m.activation_q[c];
      if (i < 0) {
        gu[c] += g;
        continue;
      }
      const Activation next = activation(c);
      const F after = gq[i] + (m.activation_early[c] ? g : F(0)),
              by_rate = after * next.on * F(m.dt);
      credit(own.activation_rate + c, by_rate * u[c]);
      credit(own.activation_decay + c, -by_rate * q[i]);
      gq[i] = after * next.by_before + (m.activation_early[c] ? F(0) : g);
      gu[c] += after * next.by_control;
    }
  }
  FN void hold_adjoint(At<const F> lambda, At<F> gq, At<F> gqd) {
    const F h = F(m.dt);
    for (int t = 0; t < m.tendons; ++t) {
      power(m.nu + t, tendon(t, h), lambda, gq, gqd);
      credit_tendon(t, lambda);
    }
    for (int e = 0; e < m.couplings; ++e) {
      const Coupled at = coupling(e, h);
      const F ke = F(m.coupling_ke[e]), damping = F(m.coupling_kd[e]) + h * ke;
      const F a2 = sum(second(e), qdd), b2 = sum(second(e), lambda);
      const F a = sum(first(e), qdd) - at.slope * a2, b = sum(first(e), lambda) - at.slope * b2;
      const F by_slope =
          b * damping * sum(second(e), qd) - b2 * at.force + at.weight * (a2 * b + a * b2);
      add_length(first(e), -b * ke, gq);
      add_length(second(e), b * ke * at.slope + by_slope * at.bend, gq);
      add_rate(first(e), -b * damping, gqd);
      add_rate(second(e), b * damping * at.slope, gqd);
    }
  }

  // Powers of what acts along cords; see articulated_adjoint.h.
  FN void cord_power(int r, const Pull& pull, F armature, At<const F> lambda) {
    const F a = sum(r, qdd), b = sum(r, lambda), implicit = pull.weight - armature;
    weigh(r, b * (a * pull.weight_by_length - pull.by_length),
          b * (a * pull.weight_by_speed - pull.by_speed),
          a * implicit + cord_bend(r) * armature - pull.force, b * implicit, b * armature);
  }
  FN void cord_powers(At<const F> lambda, At<const Spatial> W, At<Spatial> P_V, At<Spatial> P_A,
                      At<Spatial> P_W, At<Spatial> G, At<V3> P_origin) {
    const F h = F(m.dt);
    weightless();
    for (int c = 0; c < m.nu; ++c)
      if (corded(c)) cord_power(c, actuator(c, h, drive_of(c)), F(0), lambda);
    for (int t = 0; t < m.tendons; ++t)
      if (corded(m.nu + t)) cord_power(m.nu + t, tendon(t, h), F(own.tendon_armature[t]), lambda);
    for (int e = 0; e < m.couplings; ++e) {
      const int one = first(e), other = second(e);
      if (!corded(one) && !corded(other)) continue;
      const Coupled at = coupling(e, h);
      const F ke = F(m.coupling_ke[e]), damping = F(m.coupling_kd[e]) + h * ke;
      const F a2 = sum(other, qdd), b2 = sum(other, lambda);
      const F a = sum(one, qdd) - at.slope * a2, b = sum(one, lambda) - at.slope * b2;
      const F resists = at.weight * a - at.force;
      if (corded(one)) weigh(one, b * ke, b * damping, resists, at.weight * b, F(0));
      if (!corded(other)) continue;
      const F by_slope =
          b2 * at.force - b * damping * sum(other, qd) - at.weight * (a2 * b + a * b2);
      weigh(other, by_slope * at.bend - b * ke * at.slope, -b * damping * at.slope,
            -at.slope * resists, -at.slope * at.weight * b, F(0));
    }
    spread(W, P_V, P_A, P_W, G, P_origin);
  }
};
