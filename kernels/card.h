/* SPDX-License-Identifier: MIT
 *
 * card.h — what a choice among kernels knows of a card. C11 and C++17.
 */
#ifndef MOSAIC_CARD_H
#define MOSAIC_CARD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All 0: there is none. */
typedef struct card {
    int sm;         /* 90 for compute capability 9.0               */
    int64_t shared; /* bytes of shared memory that a block may use */
} card;

/* The current device. */
card kernels_card(void);

#ifdef __cplusplus
}
#endif
#endif
