/* SPDX-License-Identifier: MIT
 *
 * attention — every position reads the values of the positions it may see.
 *
 *     c_tj = scale <q_t,k_j>,   p_t = pi(c_t; beta) on N(t) = {0 .. t - lag},
 *     o_t = sum_j p~_tj v_j,    p~ = dropout(p)
 *     G_tj = <do_t,v_j> with the mask of p~,   A = scale dc(G; p),
 *     dq_t = sum_j A_tj k_j,   dk_j = sum_t A_tj q_t,   dv_j = sum_t p~_tj do_t,
 *     dbeta = sum over the rows of the head
 *
 * q, k, v (B,T,H,D), beta (H) or NULL -> o (B,T,H,D), stat (B,H,T,S).
 * q and k may be one array; if dq and dk are, it receives the sum of both. pi is args.transform.
 * Reads lag, scale, rate, seed, site, step, first_row, whole_T: weight (t,j) of head h of sample b
 * is dropped as element ((b' H + h) T' + t) T' + j of dropout.cu, b' = first_row + b, T' = whole_T.
 * dense: the scores in memory (scores.cuh). Keeps p (B,H,T,T) in float; the gradient without it
 * computes it again.
 * Source: model 2.6, 2.7.
 */
#include "scores.cuh"

static size_t kept_bytes(const args *a)
{
    return sizeof(float) * (size_t)(a->d.B * a->d.H * a->d.T * a->d.T);
}

extern "C" status attention_dense(const args *a)
{
    score_frame f = {};
    const void *mixed;
    TRY(score_plan(a, "attention", &f));
    if (a->need) {
        *a->need = f.bytes;
        if (a->keep_need) *a->keep_need = kept_bytes(a);
        return OK;
    }
    TRY(score_begin(a, &f, IN(float, 3)));
    TRY(score(a, &f, f.w.a, a->in[0], a->in[1], a->p.scale));
    TRY(weigh(&f.w, (float *)a->keep, OUT(float, 1), &mixed));
    return score_mix(a, &f, a->out[0], mixed, 0, a->in[2], 1, 0);
}

extern "C" status attention_grad_dense(const args *a)
{
    score_frame f = {};
    const float *weights, *stat, *p = (const float *)a->keep;
    const void *mixed, *dc, *g = a->in[6];
    TRY(score_plan(a, "attention_grad", &f));
    if (a->need) {
        *a->need = f.bytes;
        return OK;
    }
    TRY(score_begin(a, &f, IN(float, 3)));
    if (!p || !a->in[5]) TRY(score(a, &f, f.w.a, a->in[0], a->in[1], a->p.scale));
    TRY(weigh_again(&f.w, p, IN(float, 5), &weights, &stat, &mixed));
    if (a->out[2]) TRY(score_mix(a, &f, a->out[2], mixed, 1, g, 1, 0));
    TRY(score(a, &f, f.w.a, g, a->in[2], 1));
    TRY(weigh_grad(&f.w, weights, stat, a->out[3] ? f.dbeta : NULL, &dc));
    TRY(score_mix(a, &f, a->out[0], dc, 0, a->in[1], a->p.scale, 0));
    if (a->out[1])
        TRY(score_mix(a, &f, a->out[1], dc, 1, a->in[0], a->p.scale, a->out[1] == a->out[0]));
    if (a->out[3]) sum_heads(OUT(float, 3), f.dbeta, a->d.B, a->d.H, a->d.T, NULL, 1, stream_of(a));
    return launched("attention_grad");
}
