#pragma once
// For models whose bodies touch nothing but the ground: in place of articulated_pairs.h and its
// adjoint, which take long to compile.

#include "articulated_supports.h"

struct Pairs : Supports {
  using Supports::Supports;
  FN void pair_forces() {}
};
struct PairsAdjoint : Pairs {
  using Pairs::Pairs;
  FN void pair_powers(At<const Spatial>, At<Spatial>, At<Spatial>, At<Spatial>, At<V3>) {}
};
