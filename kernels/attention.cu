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
 * dense: the scores in memory (scores.cuh). Keeps p (B,H,T,T) and stat in float; the gradient
 * without them computes them again.
 * tile: the scores never in memory (tile.cuh). Keeps what it found out about each row.
 * resident: the same on wgmma, of short sequences, whose heads fit into shared memory, and keeps
 * the same (resident.cuh). warpgroup: the same on wgmma, and keeps the same (warpgroup.cuh).
 * gather: two passes over the scores find the keys that weigh; values, keys and rows are gathered
 * by lists of them (attention_gather.cuh). Keeps the lists and stat. Source: model 2.6, 2.7.
 */
#include "scores.cuh"
#include "taken.cuh"
#include "warpgroup.cuh"

/* What dense keeps: p, and stat behind it. */
static size_t kept_weights(const args *a)
{
    return padded(sizeof(float) * (size_t)(a->d.B * a->d.H * a->d.T * a->d.T));
}
static size_t kept_bytes(const args *a)
{
    return kept_weights(a) + sizeof(float) * STATS * (size_t)(a->d.B * a->d.H * a->d.T);
}
static float *kept_stat(const args *a)
{
    return (float *)((char *)a->keep + kept_weights(a));
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
    float *stat = a->keep ? kept_stat(a) : OUT(float, 1);
    TRY(weigh(&f.w, (float *)a->keep, stat, &mixed));
    if (a->out[1] && stat != a->out[1])
        CUDA_TRY(cudaMemcpyAsync(a->out[1], stat, kept_bytes(a) - kept_weights(a),
                                 cudaMemcpyDeviceToDevice, stream_of(a)),
                 "attention");
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
    if (!p) TRY(score(a, &f, f.w.a, a->in[0], a->in[1], a->p.scale));
    TRY(weigh_again(&f.w, p, p ? kept_stat(a) : NULL, &weights, &stat, &mixed));
    if (a->out[2]) TRY(score_mix(a, &f, a->out[2], mixed, 1, g, 1, 0));
    TRY(score(a, &f, f.w.a, g, a->in[2], 1));
    TRY(weigh_grad(&f.w, weights, stat, a->out[3] ? f.dbeta : NULL, &dc));
    TRY(score_mix(a, &f, a->out[0], dc, 0, a->in[1], a->p.scale, 0));
    if (a->out[1])
        TRY(score_mix(a, &f, a->out[1], dc, 1, a->in[0], a->p.scale, a->out[1] == a->out[0]));
    if (a->out[3]) sum_heads(OUT(float, 3), f.dbeta, a->d.B, a->d.H, a->d.T, NULL, 1, stream_of(a));
    return launched("attention_grad");
}

/* --- tile --------------------------------------------------------------------------------------
 */

/* limits.def knows what tiles want without including them. */
template <typename T, int D> struct tile_room_is {
    typedef tile_shape<T, D> shape;
    static_assert(TILE_ROOM(D * sizeof(T)) ==
                  2 * shape::own_bytes + 4 * shape::tile_bytes +
                      2 * TILE_KEYS * (sizeof(row_fact) + sizeof(uint4)));
};
template struct tile_room_is<float, 16>;
template struct tile_room_is<float, 32>;
template struct tile_room_is<float, 64>;
template struct tile_room_is<float, 128>;
template struct tile_room_is<bf16, 16>;
template struct tile_room_is<bf16, 32>;
template struct tile_room_is<bf16, 64>;
template struct tile_room_is<bf16, 128>;

static bool wide_rows(const args *a, int inputs, int outputs)
{
    bool wide = a->d.D * (int64_t)dtype_size(a->type) % 16 == 0;
    for (int i = 0; i < inputs; i++)
        if (i != 3 && i != 5) wide = wide && aligned16(a->in[i]);
    for (int i = 0; i < outputs; i++)
        wide = wide && aligned16(a->out[i]);
    return wide;
}

static status tile_plan(const args *a, const char *what, tile_call *f)
{
    TRY(tile_begin(a, what, f));
    if (a->d.T > INT32_MAX / 2)
        return fail(ERR_ARG, "%s: T %lld: expected less than 2^30", what, (long long)a->d.T);
    f->q = a->in[0], f->k = a->in[1], f->v = a->in[2];
    f->beta = IN(float, 3);
    f->groups = a->d.B * a->d.H;
    f->N = f->M = (int)a->d.T;
    f->causal = true;
    f->lag = (int)(a->p.lag < a->d.T ? a->p.lag : a->d.T);
    f->scale = a->p.scale;
    f->rows = f->keys = tile_layout{a->d.T * a->d.H * a->d.D, a->d.D, a->d.H * a->d.D};
    f->splits = 1;
    f->quads = f->whole_T % 4 == 0;
    f->words = (int)ceil_div(f->M, 128) * 4;
    return OK;
}

/* A forward keeps the facts, the bits of dropout and the rest of o. */
static void *kept_rest(const args *a, const tile_call *f)
{
    if (!a->keep || tile_rest_bytes(f, a->type) == 0) return NULL;
    return (char *)a->keep + tile_facts_bytes(f->groups, f->N) + tile_bits_kept(f);
}

static status attention_by(const args *a, tile_runner *run)
{
    tile_call f = {};
    TRY(tile_plan(a, "attention", &f));
    const size_t facts = tile_facts_bytes(f.groups, f.N), kept = tile_bits_kept(&f);
    if (a->need) {
        *a->need = facts + tile_bits_scratch(&f);
        if (a->keep_need) *a->keep_need = facts + kept + tile_rest_bytes(&f, a->type);
        return OK;
    }
    f.facts = (row_fact *)(a->keep ? a->keep : a->work);
    f.bits = (uint32_t *)((char *)(a->keep && kept ? a->keep : a->work) + facts);
    f.rest = kept_rest(a, &f);
    f.out = a->out[0], f.stat = OUT(float, 1);
    f.wide = wide_rows(a, 3, 1);
    return run(&f, a->type, stream_of(a), "attention");
}

extern "C" status attention_tile(const args *a)
{
    TRY(taken(OP_attention, "tile", a));
    return attention_by(a, tile_run);
}
extern "C" status attention_warpgroup(const args *a)
{
    TRY(taken(OP_attention, "warpgroup", a));
    return attention_by(a, warpgroup_run);
}
extern "C" status attention_resident(const args *a)
{
    TRY(taken(OP_attention, "resident", a));
    return attention_by(a, resident_run);
}

static status attention_grad_by(const args *a, tile_runner *run, tile_gradient_runner *run_grad)
{
    tile_call f = {};
    TRY(tile_plan(a, "attention_grad", &f));
    const size_t facts = tile_facts_bytes(f.groups, f.N), scratch = tile_bits_scratch(&f);
    const size_t slopes = padded(sizeof(float) * (size_t)(f.groups * f.N));
    const size_t again = padded((size_t)(f.groups * f.N * f.D) * dtype_size(a->type));
    const size_t queries = warpgroup_query_bytes(&f);
    if (a->need) {
        *a->need = facts + scratch + slopes + queries + again + tile_rest_bytes(&f, a->type);
        return OK;
    }
    char *work = (char *)a->work;
    const bool drawn = a->keep && tile_bits_kept(&f) > 0;
    f.facts = (row_fact *)(a->keep ? a->keep : work);
    f.bits = (uint32_t *)((char *)(drawn ? a->keep : work) + facts);
    f.dbeta = a->out[3] ? (float *)(work + facts + scratch) : NULL;
    f.queries = work + facts + scratch + slopes;
    f.wide = wide_rows(a, 7, 3);
    f.o = a->in[4], f.g = a->in[6];
    f.rest = kept_rest(a, &f);
    if (!a->keep) {
        f.o = f.out = work + facts + scratch + slopes + queries;
        f.rest = tile_rest_bytes(&f, a->type) ? (char *)f.out + again : NULL;
        TRY(run(&f, a->type, stream_of(a), "attention_grad"));
    }
    f.out = a->out[0], f.dk = a->out[1], f.dv = a->out[2];
    f.add = f.dk == f.out;
    TRY(run_grad(&f, a->type, drawn, stream_of(a), "attention_grad"));
    if (a->out[3]) sum_heads(OUT(float, 3), f.dbeta, a->d.B, a->d.H, a->d.T, NULL, 1, stream_of(a));
    return launched("attention_grad");
}

extern "C" status attention_grad_tile(const args *a)
{
    TRY(taken(OP_attention_grad, "tile", a));
    return attention_grad_by(a, tile_run, tile_run_grad);
}
extern "C" status attention_grad_warpgroup(const args *a)
{
    TRY(taken(OP_attention_grad, "warpgroup", a));
    const bool compact = a->transform == OP_entmax || a->transform == OP_sparsemax;
    return attention_grad_by(a, compact ? tile_run : warpgroup_run, warpgroup_run_grad);
}
extern "C" status attention_grad_resident(const args *a)
{
    TRY(taken(OP_attention_grad, "resident", a));
    return attention_grad_by(a, resident_run, resident_run_grad);
}
