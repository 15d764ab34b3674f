/* SPDX-License-Identifier: MIT
 *
 * mosaic_parts.cuh — the small kernels of mosaic_cuda, between its operations. Each takes the
 * stream it runs in; with stream NULL it does nothing. `type` is that of the void pointers.
 */
#ifndef MOSAIC_PARTS_CUH
#define MOSAIC_PARTS_CUH

#include "stage.cuh"

/* z_i = x_i + y_(i mod period), i < n; z may be x. */
status part_add(cudaStream_t on, dtype type, void *z, const void *x, const void *y, int64_t n,
                int64_t period);
/* y = gelu(x);  dx = dy gelu'(x), dx may be dy. */
status part_gelu(cudaStream_t on, dtype type, void *y, const void *x, int64_t n);
status part_gelu_grad(cudaStream_t on, dtype type, void *dx, const void *dy, const void *x,
                      int64_t n);
/* y_rhe = factor_h x_rhe, x, y (R,H,D), factor (H); y may be x. */
status part_scale_heads(cudaStream_t on, dtype type, void *y, const void *x, const float *factor,
                        int64_t R, int64_t H, int64_t D);
/* y_rn += bias_n, y (R,N) */
status part_bias(cudaStream_t on, dtype type, void *y, const float *bias, int64_t R, int64_t N);

/* Partial sums over rows for sum_heads: part[i][c] = sum over the i-th chunk of rows of x_rc y_rc,
 * y NULL: of x_rc; x, y (R,C). */
int64_t dot_chunks(int64_t R);
status part_dots(cudaStream_t on, dtype type, float *part, const void *x, const void *y, int64_t R,
                 int64_t C);

/* to (B T, d, K): to_rik = x_(t - (K-1-shift) + k)i of the same sample, 0 outside of it. */
status part_unfold(cudaStream_t on, dtype type, void *to, const void *x, int64_t R, int64_t T,
                   int64_t d, int64_t K, int64_t shift);
/* Its transpose: x_ri (+=) sum_k from_(t + (K-1-shift) - k)ik. */
status part_fold(cudaStream_t on, dtype type, void *x, const void *from, int64_t R, int64_t T,
                 int64_t d, int64_t K, int64_t shift, int add);

/* grad_i = sum_b x_bi, i < n; 0 for n <= i < whole. x (B,n). */
status part_sum_samples(cudaStream_t on, dtype type, float *grad, const void *x, int64_t B,
                        int64_t n, int64_t whole);
/* y += x, float. */
status part_accumulate(cudaStream_t on, float *y, const float *x, int64_t n);
status part_fill(cudaStream_t on, float *y, float value, int64_t n);

/* Numbers per head, (SCALARS,H): beta = exp(min(10 kappa, 5)), NaN, as *gate then is, where no
 * transform takes it; beta^2; nu, at most 0.5 if clamped; the mixing coefficient; e^{10 nu}, at
 * most 5 if clamped, divided by the banks. kappa, nu, coef NULL: the numbers that come of it are
 * not written; coef is 1 without a coefficient. */
enum scalar_row { BETA, BETA2, NU, COEF, SCALE, SCALARS };
status part_scalars(cudaStream_t on, float *scalar, float *gate, const float *kappa,
                    const float *nu, const float *coef, int64_t H, int clamp, int64_t banks);
/* dkappa_h = factor slope_h raw_h where 10 kappa <= 5, else 0; 0 if frozen. */
status part_kappa_grad(cudaStream_t on, float *dkappa, const float *kappa, const float *slope,
                       const float *raw, double factor, int frozen, int64_t H);
/* dnu_h = 0 where 10 nu > limit. */
status part_clamp_grad(cudaStream_t on, float *dnu, const float *nu, double limit, int64_t H);

/* The theta gradient that the WKV kernel of the authors returns (model 2.3, D19), with
 * a_t = sum_{j<t} (t-1-j) rho^(t-j) x_j, u = lambda, w = -lambda:
 *     dtheta = 10 (-lambda dw + du),   du = sum <ds_t, x_t>,   dw = sum <ds_t, a_t>
 * Terms (B,H,D) for sum_heads with scale 10. s, ds (B,T,H,D). */
status part_wkv_terms(cudaStream_t on, dtype type, float *terms, const float *theta, const void *s,
                      const void *ds, int64_t B, int64_t T, int64_t H, int64_t D);

/* What a step leaves for its report. */
typedef struct outcome {
    double loss;
    float norm;
} outcome;
/* sum (+)= sum_r loss_r, in a fixed order, in double. */
status part_sum_losses(cudaStream_t on, double *sum, const float *loss, int64_t R, int add);
/* told = (sum / divisor + gate, norm), gate being 0 or NaN; then gate = norm, or NaN if one of them
 * is not finite. */
status part_close_step(cudaStream_t on, outcome *told, float *gate, const double *sum,
                       const float *norm, int64_t divisor);

/* argmax_r of float rows z (R,V): the lowest of the largest; -1 if there is a NaN. */
status part_argmax(cudaStream_t on, int32_t *argmax, const float *z, int64_t R, int64_t V);

#endif
