#pragma once
// A pack: the W environments that advance together, and their tape.

#include "team.h"

struct Pack : Team {
  const int lanes;   // lanes that hold an environment
  const int width;   // numbers on the tape per substep
  const At<F> tape;  // what the step leaves for the adjoint: for each substep, `width` numbers

  FN Pack(const Call& call, int substeps, int width)
      : Team(call),
        lanes(smaller(call.envs - pack * W, W)),
        width(width),
        tape(take(substeps * width)) {}

  // Environment-major arrays (envs, n) to lanes and back; idle lanes repeat the first environment.
  template <class P>
  FN void gather(const real* from, int n, P to) {
    EACH(j, n)
    for (int l = 0; l < W; ++l)
      LANE(to[j], l) = from[(long long)(pack * W + (l < lanes ? l : 0)) * n + j];
  }
  template <class P>
  FN void scatter(P from, int n, real* to) {
    EACH(j, n)
    for (int l = 0; l < lanes; ++l) to[(long long)(pack * W + l) * n + j] = LANE(from[j], l);
  }

  // Write n numbers to the tape of substep k, from number j on, and read them again.
  FN void save(int k, int j, At<const F> from, int n) {
    EACH(i, n) tape[k * width + j + i] = from[i];
  }
  FN void restore(int k, int j, At<F> to, int n) { EACH(i, n) to[i] = tape[k * width + j + i]; }
};
