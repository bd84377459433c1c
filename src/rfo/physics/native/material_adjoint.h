write(respond_adjoint(deformation, axes, read(g_fe.data), read(g_tau.data)), g_f.data);
