#pragma once
// Particles on a grid in memory, see model.h and ../mpm.py.

#include "material_model.h"

struct Model : Material {
  int particles = integer();
  int substeps = integer();
  int bodies = integer();
  int shapes = integer();
  int nx = integer();  // cells
  int ny = integer();
  int nz = integer();
  int wall = integer();  // nodes
  real dt = number();
  real dx = number();
  real mass = number();  // of a particle, as is its volume
  real volume = number();
  real softness = number();  // of the tools' influence, see mpm_tools.h
  real halo = number();
  real cut = number();
  real friction = number();
  real ground_friction = number();
  const real* gravity = reals(3);
  // per shape
  const int* shape_body = integers(shapes);  // -1 for the world
  const int* shape_half_space = integers(shapes);
  const real* shape_pose = reals(7 * shapes);  // in the frame of its body
  const real* shape_core = reals(3 * shapes);
  const real* shape_radius = reals(shapes);
};
