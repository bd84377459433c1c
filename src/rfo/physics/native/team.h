#pragma once
// On CUDA a simulator may set a team of TEAM threads to a pack of environments: its members share
// out every EACH loop, and SYNC stands where one member reads what another has written. Elsewhere
// TEAM is 1.

#include "lanes.h"

#ifndef TEAM
#define TEAM 1
#endif
#if TEAM > 1
#define SYNC() __syncthreads()
#define ADD(to, value) atomicAdd(&(to), value)
#else
#define SYNC()
#define ADD(to, value) (to) += (value)
#endif
#define EACH(i, n) for (int i = member; i < (n); i += TEAM)

// What every kernel is called with.
struct Call {
  int thread, envs;
  real* scratch;
  int slot_size, slots;  // of the scratch memory: numbers F of a pack, and for how many packs
};

// One thread of a team, and the scratch memory of its pack.
struct Team {
  const int pack, member;
  F* const start;  // aligned for vector loads
  F* cursor;

  FN Team(const Call& call)
      : pack(call.thread / TEAM),
        member(call.thread % TEAM),
        start((F*)(((unsigned long long)call.scratch + 63) & ~63ull) +
              (long long)(pack % call.slots) * call.slot_size),
        cursor(start) {}

  // Memory for n numbers or structs.
  template <class T = F> FN T* take(long long n) {
    T* first = (T*)cursor;
    cursor += (n * (long long)sizeof(T) + 63) / 64 * 64 / (long long)sizeof(F);
    return first;
  }
  FN int taken() const { return (int)(cursor - start); }
};
