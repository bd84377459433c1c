#pragma once
// Includes the forces along lengths that the model has.

#ifdef MOTORS
#include "articulated_motors.h"
#else
#include "articulated_lengths.h"
#endif
