// For models whose bodies touch nothing but the ground, in place of articulated_pairs.h and its
// adjoint.

auto pair_forces = [&]() {};
auto pair_powers = [&](const Spatial*, Spatial*, Spatial*, Spatial*, V3*) {};
