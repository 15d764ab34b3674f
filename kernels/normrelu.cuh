/* SPDX-License-Identifier: MIT
 *
 * normrelu.cuh — slope and offset of normalised ReLU, a_j = [A c_j + b]_+, by its form
 * (normrelu_form in spec.h).   Source: model 1.4.
 */
#ifndef MOSAIC_NORMRELU_CUH
#define MOSAIC_NORMRELU_CUH

#include "common.cuh"

struct line {
    double A, b;
};

__device__ static line line_of(normrelu_form form, double slope, double offset, double beta)
{
    const double b2 = beta * beta;
    switch (form) {
    case NORMRELU_PAPER:
        return line{2 * b2, 1 - 2 * b2};
    case NORMRELU_CODE_MATRIX:
        return line{2 * b2 * b2, 1 - 2 * b2};
    case NORMRELU_CODE_EFT:
        return line{1, 0};
    case NORMRELU_AFFINE:
        break;
    }
    return line{slope, offset};
}

#endif
