#pragma once
// A body of finite elements in memory, see model.h.

#include "model.h"

struct Model : Fields {
  int nodes = integer();
  int elements = integer();
  int nu = integer();
  int substeps = integer();
  real dt = number();
  real drag = number();
  real ground_height = number();
  real radius = number();
  const real* contact_law = reals(5);  // see contact.h
  const real* gravity = reals(3);
  // per vertex
  const real* inverse_mass = reals(nodes);
  // per tetrahedron
  const int* tets = integers(4 * elements);
  const int* muscle = integers(elements);  // index of the control that activates it, or -1
  const real* gain = reals(elements);
  const real* shape = reals(6 * elements);  // A = D D^T: xx, yy, zz, xy, xz, yz
  const real* det = reals(elements);
  // the next three are times the rest volume
  const real* mu = reals(elements);
  const real* lambda = reals(elements);
  const real* damping = reals(elements);
  const real* alpha = reals(elements);
};
