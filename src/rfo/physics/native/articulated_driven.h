#pragma once
// What acts along lengths, by what the model has.

#ifdef MOTORS
#include "articulated_motors.h"
#else
#include "articulated_lengths.h"
#endif
