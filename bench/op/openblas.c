/* SPDX-License-Identifier: MIT
 *
 * openblas.c — the yardstick of the project's matrix product: y = x W^T, x (R,C), W (N,C) -> y
 * (R,N), by OpenBLAS dgemm, if the build found it. The project computes nothing with it.
 */
#ifdef WITH_OPENBLAS
#include <cblas.h>
#endif

#include "call.h"

#ifdef WITH_OPENBLAS
op_fn linear_openblas;

status linear_openblas(const args *a)
{
    if (a->need) {
        *a->need = 0;
        return OK;
    }
    int R = (int)a->d.R, N = (int)a->d.N, C = (int)a->d.C;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, R, N, C, 1, IN(double, 0), C,
                IN(double, 1), C, 0, OUT(double, 0), N);
    return OK;
}
#endif
