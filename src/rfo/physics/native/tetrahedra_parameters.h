#pragma once
// The constants that an environment may have of its own, by their names in the model. Python says
// what they follow from (../tetrahedra_parameters.py).

#include "parameters.h"
#include "tetrahedra_model.h"

struct Parameters : Varied<F> {
  const Model& m;
  At<F> gravity = varied(3);
  At<F> contact_law = varied(5);
  At<F> inverse_mass = varied(m.nodes);
  At<F> gain = varied(m.elements);
  At<F> mu = varied(m.elements);
  At<F> lambda = varied(m.elements);
  At<F> damping = varied(m.elements);
  At<F> alpha = varied(m.elements);
};
