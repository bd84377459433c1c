// On CUDA a simulator may set a team of TEAM threads to a pack of environments: its members share
// out every EACH loop, and SYNC stands where one member reads what another has written. Elsewhere
// TEAM is 1.

const int pack = tid / TEAM, member = tid % TEAM;
#if TEAM > 1
#define SYNC() __syncthreads()
#define ADD(to, value) atomicAdd(&(to), value)
#else
#define SYNC()
#define ADD(to, value) (to) += (value)
#endif
#define EACH(i, n) for (int i = member; i < (n); i += TEAM)
