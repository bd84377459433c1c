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

// An array in scratch memory. Where STRIDED is defined, the arrays of all packs lie between one
// another: number i of a pack stands beside number i of the next. So on CUDA neighbouring threads,
// which advance neighbouring packs, read neighbouring memory. Elsewhere an array is contiguous.
#ifdef STRIDED
constexpr bool strided = true;
template <class T>
struct At {
  T* first;
  long long stride;
  FN At(T* first, long long stride) : first(first), stride(stride) {}
  template <class U>
  FN At(const At<U>& other) : first(other.first), stride(other.stride) {}
  FN T& operator[](long long i) const { return first[i * stride]; }
  FN T& operator*() const { return *first; }
  FN At operator+(long long i) const { return {first + i * stride, stride}; }
  template <class U>
  FN long long operator-(const At<U>& other) const {
    return (first - other.first) / stride;
  }
  FN At operator++(int) {
    const At here = *this;
    first += stride;
    return here;
  }
};
#else
constexpr bool strided = false;
template <class T>
using At = T*;
#endif

// The arguments that every kernel has.
struct Call {
  int thread, envs;
  real* scratch;
  int slot_size, slots;  // scratch memory: numbers F of a pack, and number of packs
};

// One thread of a team, and the scratch memory of its pack.
struct Team {
  const int pack, member;
  const int slots, slot;
  F* const start;      // aligned for vector loads
  long long used = 0;  // numbers of a pack that are taken

  FN Team(const Call& call)
      : pack(call.thread / TEAM),
        member(call.thread % TEAM),
        slots(call.slots),
        slot(pack % call.slots),
        start((F*)(((unsigned long long)call.scratch + 63) & ~63ull) +
              (strided ? 0 : (long long)slot * call.slot_size)) {}

  // Where the memory is that is taken next.
  template <class T = F>
  FN At<T> next() const {
#ifdef STRIDED
    return {(T*)(start + used * slots) + slot, slots};
#else
    return (T*)(start + used);
#endif
  }
  // Memory for n numbers or structs.
  template <class T = F>
  FN At<T> take(long long n) {
    const At<T> first = next<T>();
    used += (n * (long long)sizeof(T) + 63) / 64 * 64 / (long long)sizeof(F);
    return first;
  }
  FN int taken() const { return (int)used; }
};
