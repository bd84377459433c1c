#pragma once
// A row: the nodes along z at one (x, y) of a particle's 3 x 3 x 3 nodes, with four numbers each,
// in one vector. The fourth node is beyond the particle's reach and has no weight.

#include "team.h"

#if LANES == 1
struct Row {
  real a[12];
  FN Row operator+(const Row& o) const {
    Row r;
    for (int i = 0; i < 12; ++i) r.a[i] = a[i] + o.a[i];
    return r;
  }
  FN Row operator*(const Row& o) const {
    Row r;
    for (int i = 0; i < 12; ++i) r.a[i] = a[i] * o.a[i];
    return r;
  }
  FN Row operator*(real s) const {
    Row r;
    for (int i = 0; i < 12; ++i) r.a[i] = a[i] * s;
    return r;
  }
};
FN Row repeat(real x, real y, real z, real w) { return Row{{x, y, z, w, x, y, z, w, x, y, z, w}}; }
FN Row along(real a, real b, real c) { return Row{{a, a, a, a, b, b, b, b, c, c, c, c}}; }
FN Row load(const real* from) {
  Row r;
  for (int i = 0; i < 12; ++i) r.a[i] = from[i];
  return r;
}
FN void add_row(real* to, const Row& r) {
  for (int i = 0; i < 12; ++i) ADD(to[i], r.a[i]);
}
struct Four {
  real x, y, z, w;
};
FN Four fold(const Row& r) {
  return Four{r.a[0] + r.a[4] + r.a[8], r.a[1] + r.a[5] + r.a[9], r.a[2] + r.a[6] + r.a[10],
              r.a[3] + r.a[7] + r.a[11]};
}
#else
typedef real Row __attribute__((ext_vector_type(16)));
// without alignment
typedef real RowAt __attribute__((ext_vector_type(16), aligned(sizeof(real))));
typedef real Four __attribute__((ext_vector_type(4)));
FN Row repeat(real x, real y, real z, real w) {
  const Four f = {x, y, z, w};
  return __builtin_shufflevector(f, f, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}
FN Row along(real a, real b, real c) {
  const Four f = {a, b, c, real(0)};
  return __builtin_shufflevector(f, f, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
}
FN Row load(const real* from) { return Row(*(const RowAt*)from); }
FN void add_row(real* to, const Row& r) { *(RowAt*)to += r; }
// Sum over the nodes.
FN Four fold(const Row& r) {
  const auto half = r.lo + r.hi;
  return half.lo + half.hi;
}
#endif
FN real sum(const Four& f) { return f.x + f.y + f.z + f.w; }
