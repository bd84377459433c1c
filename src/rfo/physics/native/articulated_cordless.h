#pragma once
// For models without cords: in place of articulated_cords.h.

#include "articulated.h"

struct Cords : Articulated {
  using Articulated::Articulated;

  FN void measure() {}
  FN bool corded(int) { return false; }
  FN F cord_length(int) { return F(0); }
  FN real coef(int, int k) { return m.length_coef[k]; }
  FN F cord_bend(int) { return F(0); }
  FN void weigh(int, F, F, F, F, F) {}
  FN void weightless() {}
  FN void follow(int) {}
  FN void spread(At<const Spatial>, At<Spatial>, At<Spatial>, At<Spatial>, At<Spatial>, At<V3>) {}
  FN void cord_powers(At<const F>, At<const Spatial>, At<Spatial>, At<Spatial>, At<Spatial>,
                      At<Spatial>, At<V3>) {}
  FN void collect_cords(int, At<Spatial>) {}
};
