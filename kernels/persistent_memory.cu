/* SPDX-License-Identifier: MIT
 *
 * persistent_memory — attention over M learned slots, the same for every position and sample.
 *
 *     s_tm = <q_t, mk_m>,  p_t = softmax(s_t),  z_t = sum_m p~_tm mv_m,  p~ = dropout(p)
 *     G_tm = <dz_t, mv_m> with the mask of p~,   ds = p (G - sum_m p G)
 *     dq_t = sum_m ds_tm mk_m,   dmk_m = sum ds_tm q_t,   dmv_m = sum p~_tm dz_t
 *
 * q (B,T,H,D), mk, mv (H,M,D) -> z (B,T,H,D), stat (B,T,H,S), that of the transform. The bandwidth
 * is in q = beta^2 k; args.transform has beta = 1. Reads rate, seed, site, step, first_row,
 * whole_T: weight m of row (b,t,h) is dropped as element ((b' T' + t) H + h) M + m of dropout.cu,
 * b' = first_row + b, T' = whole_T. The gradient's z and stat may be NULL: it reads neither.
 * tile: the scores never in memory (tile.cuh); softmax alone. Keeps z and what it found out about
 * each row. warpgroup: the same on wgmma (warpgroup.cuh). dense: scores in memory, one product per
 * head over all positions of all samples; the gradient computes scores and weights again. Source:
 * Zhang et al. 2025; model 2.8.
 */
#include "matmul.cuh"
#include "taken.cuh"
#include "warpgroup.cuh"
#include "weigh.cuh"

typedef struct frame {
    matmul m;
    weigher w;
    void *product;
    size_t bytes;
} frame;

static status frame_of(const args *a, const char *what, frame *f)
{
    f->product = a->work;
    f->bytes = MATMUL_WORK;
    f->w.what = what;
    f->w.R = a->d.B * a->d.T * a->d.H, f->w.N = a->d.M;
    const int64_t rows = a->d.T * a->d.H, whole = params_whole_T(&a->p, a->d.T) * a->d.H;
    f->w.masks = mask_map_of(a->p.first_row, rows, whole, a->d.M, a->d.M);
    f->w.call = a;
    return weigher_plan(&f->w, (char *)a->work, &f->bytes);
}

/* Batches of H: positions (B T, D), slots (M, D), scores (B T, M). */
static matrix positions(const args *a, const void *p, int transposed)
{
    return matrix{p, a->type, a->d.H * a->d.D, a->d.D, transposed};
}
static matrix slots(const args *a, const void *p, int transposed)
{
    return matrix{p, a->type, a->d.D, a->d.M * a->d.D, transposed};
}
static matrix scores(const args *a, const void *p, dtype type, int transposed)
{
    return matrix{p, type, a->d.H * a->d.M, a->d.M, transposed};
}

/* y = x m^T in float. */
static status score(const args *a, const frame *f, float *y, const void *x, const void *m)
{
    return multiply(&f->m, a->d.B * a->d.T, a->d.M, a->d.D, 1, positions(a, x, 0), slots(a, m, 1),
                    scores(a, y, F32, 0), 0, a->d.H);
}
/* y = p m at the positions. */
static status read(const args *a, const frame *f, void *y, const void *p, const void *m)
{
    return multiply(&f->m, a->d.B * a->d.T, a->d.D, a->d.M, 1, scores(a, p, a->type, 0),
                    slots(a, m, 0), positions(a, y, 0), 0, a->d.H);
}
/* y = p^T x at the slots. */
static status gather(const args *a, const frame *f, void *y, const void *p, const void *x)
{
    return multiply(&f->m, a->d.M, a->d.D, a->d.B * a->d.T, 1, scores(a, p, a->type, 1),
                    positions(a, x, 0), slots(a, y, 0), 0, a->d.H);
}

extern "C" status persistent_memory_dense(const args *a)
{
    frame f = {};
    const void *mixed;
    TRY(frame_of(a, "persistent_memory", &f));
    if (a->need) {
        *a->need = f.bytes;
        return OK;
    }
    TRY(matmul_begin(&f.m, f.w.what, a->type, f.product, a->stream));
    TRY(score(a, &f, f.w.a, a->in[0], a->in[1]));
    TRY(weigh(&f.w, NULL, OUT(float, 1), &mixed));
    return read(a, &f, a->out[0], mixed, a->in[2]);
}

extern "C" status persistent_memory_grad_dense(const args *a)
{
    frame f = {};
    const float *weights, *stat;
    const void *mixed, *ds, *dz = a->in[5];
    TRY(frame_of(a, "persistent_memory_grad", &f));
    if (a->need) {
        *a->need = f.bytes;
        return OK;
    }
    TRY(matmul_begin(&f.m, f.w.what, a->type, f.product, a->stream));
    TRY(score(a, &f, f.w.a, a->in[0], a->in[1]));
    TRY(weigh_again(&f.w, NULL, NULL, &weights, &stat, &mixed));
    if (a->out[2]) TRY(gather(a, &f, a->out[2], mixed, dz));
    TRY(score(a, &f, f.w.a, dz, a->in[2]));
    TRY(weigh_grad(&f.w, weights, stat, NULL, &ds));
    TRY(read(a, &f, a->out[0], ds, a->in[1]));
    return a->out[1] ? gather(a, &f, a->out[1], ds, a->in[0]) : OK;
}

/* --- tile --------------------------------------------------------------------------------------
 */

enum { KEYS_OF_BLOCK = 128, BLOCKS_AT_ONCE = 2 }; /* about, of the widths that are common */

/* Groups are heads: all positions of all samples are their queries, the slots their keys. */
static status tile_plan(const args *a, const char *what, tile_call *f, bool gradient)
{
    const int64_t N = a->d.B * a->d.T;
    TRY(tile_begin(a, what, f));
    if (N > INT32_MAX / 2 || a->d.M > INT32_MAX / 2)
        return fail(ERR_ARG, "%s: B T %lld, M %lld: expected less than 2^30", what, (long long)N,
                    (long long)a->d.M);
    f->q = a->in[0], f->k = a->in[1], f->v = a->in[2];
    f->groups = a->d.H;
    f->N = (int)N, f->M = (int)a->d.M;
    f->scale = 1;
    f->rows = tile_layout{0, a->d.D, a->d.H * a->d.D};
    f->keys = tile_layout{0, a->d.M * a->d.D, a->d.D};
    f->mask_T = a->d.T;
    f->quads = a->d.M % 4 == 0;
    f->words = (int)ceil_div(f->M, 128) * 4;
    f->wide = a->d.D * (int64_t)dtype_size(a->type) % 16 == 0;
    for (int i = 0; i < 3; i++)
        f->wide = f->wide && aligned16(a->in[i]) && (i == 1 || aligned16(a->out[i]));
    if (gradient) f->wide = f->wide && aligned16(a->in[5]) && aligned16(a->out[1]);
    f->splits = 1;
    return OK;
}

/* What a forward keeps: the facts, z and its rest, and the bits of dropout. */
static size_t z_bytes(const args *a)
{
    return padded((size_t)(a->d.B * a->d.T * a->d.H * a->d.D) * dtype_size(a->type));
}
static size_t until_bits(const args *a, const tile_call *f)
{
    return tile_facts_bytes(f->groups, f->N) + z_bytes(a) + tile_rest_bytes(f, a->type);
}
static void *rest_in(char *kept, const args *a, const tile_call *f)
{
    if (tile_rest_bytes(f, a->type) == 0) return NULL;
    return kept + tile_facts_bytes(f->groups, f->N) + z_bytes(a);
}

static status memory_by(const args *a, tile_runner *run)
{
    tile_call f = {};
    TRY(tile_plan(a, "persistent_memory", &f, false));
    const size_t facts = tile_facts_bytes(f.groups, f.N), kept = tile_bits_kept(&f);
    if (a->need) {
        *a->need = facts + tile_bits_scratch(&f);
        if (a->keep_need) *a->keep_need = until_bits(a, &f) + kept;
        return OK;
    }
    char *keep = (char *)a->keep, *work = (char *)a->work;
    f.facts = (row_fact *)(keep ? keep : work);
    f.bits = (uint32_t *)(keep && kept ? keep + until_bits(a, &f) : work + facts);
    f.rest = keep ? rest_in(keep, a, &f) : NULL;
    f.out = a->out[0], f.stat = OUT(float, 1);
    TRY(run(&f, a->type, stream_of(a), "persistent_memory"));
    if (!keep) return OK;
    CUDA_TRY(cudaMemcpyAsync(keep + facts, a->out[0],
                             (size_t)(f.groups * f.N * f.D) * dtype_size(a->type),
                             cudaMemcpyDeviceToDevice, stream_of(a)),
             "persistent_memory");
    return OK;
}

extern "C" status persistent_memory_tile(const args *a)
{
    TRY(taken(OP_persistent_memory, "tile", a));
    return memory_by(a, tile_run);
}
extern "C" status persistent_memory_warpgroup(const args *a)
{
    TRY(taken(OP_persistent_memory, "warpgroup", a));
    return memory_by(a, warpgroup_run);
}

static status memory_grad_by(const args *a, tile_call *f, tile_runner *run,
                             tile_gradient_runner *run_grad)
{
    const size_t until = until_bits(a, f), scratch = until + tile_bits_scratch(f);
    const size_t queries = warpgroup_query_bytes(f);
    if (a->need) {
        *a->need = scratch + queries + tile_parts_bytes(f);
        return OK;
    }
    const bool drawn = a->keep && tile_bits_kept(f) > 0;
    char *work = (char *)a->work, *kept = a->keep ? (char *)a->keep : work;
    f->facts = (row_fact *)kept;
    f->o = f->out = kept + tile_facts_bytes(f->groups, f->N);
    f->rest = rest_in(kept, a, f);
    f->bits = (uint32_t *)((drawn ? kept : work) + until);
    f->queries = work + scratch;
    f->parts = (float *)(work + scratch + queries);
    if (!a->keep) TRY(run(f, a->type, stream_of(a), "persistent_memory_grad"));
    f->g = a->in[5];
    f->out = a->out[0], f->dk = a->out[1], f->dv = a->out[2];
    return run_grad(f, a->type, drawn, stream_of(a), "persistent_memory_grad");
}

extern "C" status persistent_memory_grad_tile(const args *a)
{
    tile_call f = {};
    TRY(taken(OP_persistent_memory_grad, "tile", a));
    TRY(tile_plan(a, "persistent_memory_grad", &f, true));
    tile_split(&f, KEYS_OF_BLOCK, BLOCKS_AT_ONCE);
    return memory_grad_by(a, &f, tile_run, tile_run_grad);
}
extern "C" status persistent_memory_grad_warpgroup(const args *a)
{
    tile_call f = {};
    TRY(taken(OP_persistent_memory_grad, "warpgroup", a));
    TRY(tile_plan(a, "persistent_memory_grad", &f, true));
    warpgroup_split(&f);
    return memory_grad_by(a, &f, warpgroup_run, warpgroup_run_grad);
}
