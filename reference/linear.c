/* SPDX-License-Identifier: MIT
 *
 * linear — y = x W^T, without bias.
 *
 *     forward   y_rn  = sum_c x_rc w_nc
 *     backward  dx_rc = sum_n dy_rn w_nc,   dw_nc = sum_r dy_rn x_rc
 *
 * x (R,C), w (N,C) -> y (R,N). Either output of the gradient may be NULL.
 * Method: the fixed-order product of matmul.h.
 */
#include "matmul.h"
#include "stage.h"

status linear_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, C = a->d.C, N = a->d.N;
    matmul(R, N, C, (view){IN(double, 0), C, 1}, (view){IN(double, 1), 1, C}, OUT(double, 0), N, 0);
    return OK;
}

status linear_grad_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, C = a->d.C, N = a->d.N;
    const double *x = IN(double, 0), *w = IN(double, 1), *dy = IN(double, 2);
    double *dx = OUT(double, 0), *dw = OUT(double, 1);
    if (dx) matmul(R, C, N, (view){dy, N, 1}, (view){w, C, 1}, dx, C, 0);
    if (dw) matmul(N, C, R, (view){dy, 1, N}, (view){x, C, 1}, dw, C, 0);
    return OK;
}
