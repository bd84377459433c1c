// One control step. Nothing is kept for the adjoint but the state before, which the caller has.

real* const state = take(STATE * padded);
sort(x_in.data + (long long)pack * m.particles * 3);
gather(x_in.data, 3, state, AT_X);
gather(v_in.data, 3, state, AT_V);
gather(c_in.data, 9, state, AT_C);
gather(f_in.data, 9, state, AT_F);
SYNC();
for (int k = 0; k < m.substeps; ++k) substep(state, k);
scatter(state, AT_X, 3, x_out.data);
scatter(state, AT_V, 3, v_out.data);
scatter(state, AT_C, 9, c_out.data);
scatter(state, AT_F, 9, f_out.data);
