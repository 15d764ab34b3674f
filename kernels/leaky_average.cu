/* SPDX-License-Identifier: MIT
 *
 * leaky_average — a decaying sum over time, one decay per head.
 *
 *     s_t = rho s_{t-1} + x_t,  s_{-1} = 0,  rho = e^{-lambda},  lambda = 10 |theta|
 *     q_t = rho q_{t+1} + ds_t (q_T = 0),  dx_t = q_t,
 *     drho = sum_{b, t >= 1} <q_t, s_{t-1}>,   dtheta = -10 sign(theta) rho drho
 *
 * x (B,T,H,D), theta (H) -> s (B,T,H,D).
 * Method: one pass, each element read and written once. A block holds a tile of time x channels in
 * registers: every thread scans STEPS positions of one pack of channels, the block scans its
 * threads in shared memory. Tiles of one channel are chained: each publishes its own sum, and every
 * GROUP-th also the state at its end; a tile takes the state at the start of its group and adds the
 * sums between in order. What is combined with what is fixed by the positions alone, so the bits
 * do not depend on timing (a look-back of free depth would let them). Tiles are taken from a
 * counter, all channels of a time before the next time, so that who is waited for has started.
 * The backward is the same scan in reversed time.
 * Numerics: decays over many steps come from exp in double; rho is a pair of floats, for 1/lambda
 * steps of a rounded rho would lose its digits.
 * Source: Zhang et al. 2025; model 2.3.
 */
#include "stage.cuh"

enum { LANES = 8, GROUPS = 32, GROUP = 16, STEPS = 16, STEPS_GRAD = 8 };

/* A factor in two floats. */
typedef struct decay {
    float high, low;
} decay;

__device__ static float faded(decay d, float s, float x)
{
    return fmaf(d.high, s, fmaf(d.low, s, x));
}

/* What a decay is over: one step, the steps of one thread, those of a tile. */
enum { OVER_STEP, OVER_THREAD, OVER_TILE, OVERS };

typedef struct scan {
    int64_t B, T, H, D;
    int64_t lanes; /* packs of channels, all samples: B * H * D / width */
    int64_t slabs; /* blocks across the channels                       */
    int64_t tiles; /* blocks along time                                */
    int width;     /* channels of a pack: 16 bytes, or 1               */
    int groups;    /* threads of a block along time                    */
    const float *theta;
    float *factor; /* per head: -sign(theta) rho, for the backward */
    unsigned *ticket;
    unsigned long long *sum;   /* [tiles][lanes * width]: a float and a flag */
    unsigned long long *state; /* [tiles / GROUP][lanes * width]             */
} scan;

__device__ static decay decay_over(double lambda, int64_t steps)
{
    const double r = exp(-lambda * (double)steps);
    const float high = (float)r;
    return decay{high, (float)(r - high)};
}

/* Of head h; `steps` are those of a thread. */
__device__ static decay decay_of(const scan &s, unsigned h, int over, int steps)
{
    const double lambda = 10 * fabs((double)s.theta[h]);
    return decay_over(lambda, over == OVER_STEP     ? 1
                              : over == OVER_THREAD ? steps
                                                    : (int64_t)steps * s.groups);
}

__device__ static void write_factors(const scan &s)
{
    for (int64_t h = threadIdx.y * LANES + threadIdx.x; h < s.H; h += LANES * s.groups) {
        const float theta = s.theta[h];
        s.factor[h] = (float)((theta < 0) - (theta > 0)) * (float)exp(-10 * fabs((double)theta));
    }
}

/* A float published together with the news that it is there: one 64-bit word needs no fence. */
__device__ static void publish(unsigned long long *p, float x)
{
    const unsigned long long word = 1ull << 32 | __float_as_uint(x);
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(word) : "memory");
}
__device__ static unsigned long long glance(const unsigned long long *p)
{
    unsigned long long word;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(word) : "l"(p) : "memory");
    return word;
}
__device__ static float wait_for(const unsigned long long *p)
{
    unsigned long long word = glance(p);
    while (!(word >> 32))
        word = glance(p);
    return __uint_as_float((unsigned)word);
}

/* The load and store of W channels: a 16-byte pack, or one element. */
template <typename T, int W> struct channels {
    packed<T> p;
    __device__ void load(const T *at, bool exists)
    {
        if (W > 1)
            p = exists ? packed<T>{*(const uint4 *)at} : packed<T>{make_uint4(0, 0, 0, 0)};
        else
            p.raw.x = __float_as_uint(exists ? widen(*at) : 0);
    }
    __device__ float operator[](int k) const
    {
        return W > 1 ? p[k] : __uint_as_float(p.raw.x);
    }
};
template <typename T, int W> __device__ static void store_channels(T *at, const float *x)
{
    if (W > 1)
        store_pack(at, x);
    else
        *at = narrow<T>(*x);
}

/* What a block of C channels shares. */
template <int C> struct room {
    decay over[OVERS][LANES]; /* of the head of each lane                              */
    float ends[GROUPS][C];    /* of each thread from a zero start, later partial dots */
    float prior[GROUP][C];    /* the sums of the tiles before in the group of tiles    */
    float own[C];             /* the sum of this tile                                  */
    float start[C];           /* the state before this tile                            */
    unsigned taken;
};

/* Fills r->start for tile `tile` of slab `slab`, and publishes what later tiles need. */
template <int C>
__device__ static void chain(room<C> *r, const scan &s, unsigned tile, unsigned slab, int self)
{
    const int threads = LANES * s.groups, before = tile % GROUP;
    const int64_t all = s.lanes * s.width, base = (int64_t)slab * C;
    for (int k = self; k < C && base + k < all; k += threads) {
        const decay d = r->over[OVER_THREAD][k / (C / LANES)];
        float own = 0;
        for (int g = 0; g < s.groups; g++)
            own = faded(d, own, r->ends[g][k]);
        if (tile + 1 < s.tiles) publish(s.sum + tile * all + base + k, own);
        r->own[k] = own;
    }
    for (int i = self; i < before * C; i += threads)
        if (base + i % C < all)
            r->prior[i / C][i % C] =
                wait_for(s.sum + (int64_t)(tile - before + i / C) * all + base + i % C);
    __syncthreads();
    for (int k = self; k < C && base + k < all; k += threads) {
        const decay d = r->over[OVER_TILE][k / (C / LANES)];
        float state = tile < GROUP ? 0 : wait_for(s.state + (tile / GROUP - 1) * all + base + k);
        for (int i = 0; i < before; i++)
            state = faded(d, state, r->prior[i][k]);
        if (before == GROUP - 1 && tile + 1 < s.tiles)
            publish(s.state + tile / GROUP * all + base + k, faded(d, state, r->own[k]));
        r->start[k] = state;
    }
    __syncthreads();
}

/* *part: the sum of `dot` over the threads of this lane. */
template <int C>
__device__ static void gather(float *part, room<C> *r, const scan &s, bool exists, float dot)
{
    __syncthreads(); /* `ends` is read no more */
    r->ends[threadIdx.y][threadIdx.x] = dot;
    __syncthreads();
    if (threadIdx.y > 0 || !exists) return;
    for (int g = 1; g < s.groups; g++)
        dot += r->ends[g][threadIdx.x];
    *part = dot;
}

/* REVERSED: time runs from T-1 to 0, x is ds and y is dx; with `past` (the forward's s) given,
 * part[tile][lane] receives the sum of <q_t, s_{t-1}> over the tile. */
template <typename T, int W, int N, bool REVERSED>
static __global__ void __launch_bounds__(LANES *GROUPS, 2)
    scan_kernel(const T *x, T *y, const T *past, float *part, scan s)
{
    __shared__ room<LANES * W> r;
    const int lane = threadIdx.x, group = threadIdx.y, self = group * LANES + lane;
    if (self == 0) r.taken = s.tiles > 1 ? atomicAdd(s.ticket, 1u) : blockIdx.x;
    for (int k = self; k < LANES * W; k += LANES * s.groups)
        r.start[k] = 0;
    if (REVERSED && past && blockIdx.x == 0) write_factors(s);
    __syncthreads();
    const unsigned slabs = (unsigned)s.slabs, width = (unsigned)s.D, row = (unsigned)s.H * width;
    const unsigned tile = r.taken / slabs, slab = r.taken % slabs, all = slab * LANES + lane;
    const bool exists = all < s.lanes;
    const unsigned b = exists ? all / (row / W) : 0, c = exists ? all % (row / W) * W : 0;
    if (group < OVERS) r.over[group][lane] = decay_of(s, c / width, group, N);
    const int64_t first = ((int64_t)tile * s.groups + group) * N; /* in the scan's own time */
    const int64_t step = REVERSED ? -(int64_t)row : (int64_t)row;
    const int64_t at = (b * s.T + (REVERSED ? s.T - 1 - first : first)) * row + c;
    channels<T, W> in[N], before[REVERSED ? N : 1];
    float state[W] = {0}, dot = 0;
#pragma unroll
    for (int i = 0; i < N; i++)
        in[i].load(x + at + i * step, exists && first + i < s.T);
    __syncthreads();
    const decay over_step = r.over[OVER_STEP][lane], over_thread = r.over[OVER_THREAD][lane];
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int k = 0; k < W; k++)
            state[k] = faded(over_step, state[k], in[i][k]);
#pragma unroll
    for (int k = 0; k < W; k++)
        r.ends[group][lane * W + k] = state[k];
    __syncthreads();
    if (s.tiles > 1) chain(&r, s, tile, slab, self);
#pragma unroll
    for (int k = 0; k < W; k++)
        state[k] = r.start[lane * W + k];
    for (int g = 0; g < group; g++)
#pragma unroll
        for (int k = 0; k < W; k++)
            state[k] = faded(over_thread, state[k], r.ends[g][lane * W + k]);
    if (REVERSED)
#pragma unroll
        for (int i = 0; i < N; i++)
            before[REVERSED ? i : 0].load(past + at + (i + 1) * step,
                                          past && exists && first + i + 1 < s.T);
#pragma unroll
    for (int i = 0; i < N; i++) {
#pragma unroll
        for (int k = 0; k < W; k++) {
            state[k] = faded(over_step, state[k], in[i][k]);
            if (REVERSED) dot += state[k] * before[REVERSED ? i : 0][k];
        }
        if (exists && first + i < s.T) store_channels<T, W>(y + at + i * step, state);
    }
    if (REVERSED && part) gather(part + (int64_t)tile * s.lanes + all, &r, s, exists, dot);
}

/* Sizes and scratch. */
typedef struct layout {
    scan s;
    float *part;
    size_t clear, bytes; /* the leading bytes to zero; all bytes */
} layout;

static layout layout_of(const args *a, int width, int steps)
{
    const dims d = a->d;
    layout l = {};
    scan *s = &l.s;
    s->B = d.B, s->T = d.T, s->H = d.H, s->D = d.D;
    s->width = width;
    s->lanes = d.B * d.H * d.D / width;
    s->slabs = ceil_div(s->lanes, LANES);
    const int64_t need = ceil_div(ceil_div(d.T, steps), WARP / LANES) * (WARP / LANES);
    s->groups = need < GROUPS ? (int)need : (int)GROUPS;
    s->tiles = s->groups > 0 ? ceil_div(d.T, (int64_t)s->groups * steps) : 0;
    const size_t words = 8 * (size_t)(s->lanes * width);
    const bool chained = s->tiles > 1;
    const size_t sizes[] = {sizeof(unsigned), chained ? words * (size_t)s->tiles : 0,
                            chained ? words * (size_t)(s->tiles / GROUP) : 0,
                            sizeof(float) * (size_t)d.H,
                            sizeof(float) * (size_t)(s->tiles * s->lanes)};
    void **parts[] = {(void **)&s->ticket, (void **)&s->sum, (void **)&s->state,
                      (void **)&s->factor, (void **)&l.part};
    for (int i = 0; i < 5; i++) {
        *parts[i] = (char *)a->work + l.bytes;
        l.bytes += padded(sizes[i]);
        if (i == 2) l.clear = l.bytes;
    }
    return l;
}

template <typename T, int W, int N, bool REVERSED>
static status launch(const args *a, const layout *l, const char *what, const float *theta,
                     const T *x, T *y, const T *past)
{
    scan s = l->s;
    s.theta = theta;
    const cudaStream_t stream = stream_of(a);
    if (s.lanes * s.T == 0) return OK;
    if (s.slabs * s.tiles > INT32_MAX || s.lanes * s.width > INT32_MAX)
        return fail(ERR_ARG, "%s: B T H D: expected fewer than 2^31 tiles and channels", what);
    if (s.tiles > 1) CUDA_TRY(cudaMemsetAsync(s.ticket, 0, l->clear, stream), what);
    scan_kernel<T, W, N, REVERSED>
        <<<(unsigned)(s.slabs * s.tiles), dim3(LANES, s.groups), 0, stream>>>(
            x, y, past, past ? l->part : NULL, s);
    return launched(what);
}

/* Whether heads are whole packs and every tensor of the call is 16-byte aligned. */
static bool is_wide(const args *a, const void *x, const void *y, const void *past)
{
    return a->d.D % (16 / (int)dtype_size(a->type)) == 0 && aligned16(x) && aligned16(y) &&
           aligned16(past);
}

template <typename T> static status run(const args *a)
{
    const T *x = IN(T, 0);
    const float *theta = IN(float, 1);
    T *y = OUT(T, 0);
    enum { W = packed<T>::width };
    if (!is_wide(a, x, y, NULL)) {
        const layout l = layout_of(a, 1, STEPS);
        return launch<T, 1, STEPS, false>(a, &l, "leaky_average", theta, x, y, NULL);
    }
    const layout l = layout_of(a, W, STEPS);
    return launch<T, W, STEPS, false>(a, &l, "leaky_average", theta, x, y, NULL);
}

template <typename T> static status run_grad(const args *a)
{
    enum { W = packed<T>::width };
    static const char what[] = "leaky_average_grad";
    const float *theta = IN(float, 0);
    const T *s = a->out[1] ? IN(T, 1) : NULL, *ds = IN(T, 2);
    T *dx = OUT(T, 0);
    const bool wide = is_wide(a, ds, dx, s);
    const layout l = layout_of(a, wide ? (int)W : 1, STEPS_GRAD);
    TRY((wide ? launch<T, W, STEPS_GRAD, true>(a, &l, what, theta, ds, dx, s)
              : launch<T, 1, STEPS_GRAD, true>(a, &l, what, theta, ds, dx, s)));
    if (a->out[1])
        sum_heads(OUT(float, 1), l.part, l.s.tiles * a->d.B, a->d.H, a->d.D / l.s.width, l.s.factor,
                  10, stream_of(a));
    return launched(what);
}

/* The scratch of the wider of the two layouts: one element per lane. */
static status tell(const args *a, int steps)
{
    const layout l = layout_of(a, 1, steps);
    *a->need = l.bytes;
    return OK;
}

extern "C" status leaky_average_scan(const args *a)
{
    if (a->need) return tell(a, STEPS);
    return BY_TYPE(a->type, "leaky_average", run, a);
}

extern "C" status leaky_average_grad_scan(const args *a)
{
    if (a->need) return tell(a, STEPS_GRAD);
    return BY_TYPE(a->type, "leaky_average_grad", run_grad, a);
}
