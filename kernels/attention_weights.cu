/* SPDX-License-Identifier: MIT
 *
 * attention_weights — the weights of attention by themselves, for figures, probes and golden files:
 *
 *     c_tj = scale <q_t,k_j>,   p_t = pi(c_t; beta) on N(t) = {0 .. t - lag}
 *
 * q, k (B,T,H,D), beta (H) or NULL -> p (B,H,T,T), stat (B,H,T,S), before any dropout. pi is
 * args.transform. Reads lag, scale.
 * Source: model 2.6.
 */
#include "scores.cuh"

extern "C" status attention_weights_dense(const args *a)
{
    score_frame f = {};
    TRY(score_plan(a, "attention_weights", &f));
    if (a->need) {
        *a->need = f.bytes;
        return OK;
    }
    TRY(score_begin(a, &f, IN(float, 2)));
    TRY(score(a, &f, f.w.a, a->in[0], a->in[1], a->p.scale));
    return weights_of(&f.w, a->out[0], OUT(float, 1));
}
