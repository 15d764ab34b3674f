/* SPDX-License-Identifier: MIT
 *
 * statistics.c — see statistics.h.
 *
 * Type 7 quantiles: for sorted x_0..x_{n-1} the q-quantile is x_i + f (x_{i+1} - x_i) with
 * i + f = q (n - 1). Source: Hyndman & Fan 1996.
 *
 * Wilson, z = 1.96:  (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
 *
 * Rank tests: ranks are doubled, so that those of ties, which are halves, are integers. With w(s)
 * the number of choices (of na ranks, or of signs) whose sum is s, all choices being alike,
 * p = sum over |s - mean| >= |s_seen - mean| of w(s) / sum of w.
 */
#include "statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "order.h"
#include "rng.h"

/* --- one set of samples ----------------------------------------------------------------------- */

static double quantile(const double *sorted, int64_t n, double q)
{
    double at = q * (double)(n - 1), i = floor(at);
    int64_t low = (int64_t)i, high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - i) * (sorted[high] - sorted[low]);
}

/* An ascending copy, the caller's to free; NULL without memory. */
static double *sorted_copy(const double *x, int64_t n)
{
    double *sorted = malloc((size_t)(n + 1) * sizeof *sorted);
    if (!sorted) return NULL;
    memcpy(sorted, x, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    return sorted;
}

status summarize(const double *samples, int64_t count, summary *s)
{
    if (count < 1)
        return fail(ERR_ARG, "summary: %lld samples: expected at least 1", (long long)count);
    double *sorted = sorted_copy(samples, count);
    if (!sorted) return fail(ERR_MEMORY, "summary: out of memory");
    *s = (summary){count,
                   sorted[0],
                   quantile(sorted, count, 0.25),
                   quantile(sorted, count, 0.5),
                   quantile(sorted, count, 0.75),
                   sorted[count - 1]};
    free(sorted);
    return OK;
}

status robust_deviation(const double *samples, int64_t count, double *deviation)
{
    summary of, away;
    TRY(summarize(samples, count, &of));
    double *distance = malloc((size_t)count * sizeof *distance);
    if (!distance) return fail(ERR_MEMORY, "deviation: out of memory");
    for (int64_t i = 0; i < count; i++)
        distance[i] = fabs(samples[i] - of.median);
    const status s = summarize(distance, count, &away);
    free(distance);
    if (s == OK) *deviation = 1.4826 * away.median;
    return s;
}

void wilson(double successes, int64_t count, double *low, double *high)
{
    if (count <= 0) {
        *low = 0;
        *high = 1;
        return;
    }
    const double z = 1.959963984540054; /* Phi(z) = 0.975 */
    double n = (double)count, p = successes / n;
    double centre = p + z * z / (2 * n);
    double reach = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    *low = successes <= 0 ? 0 : (centre - reach) / (1 + z * z / n);
    *high = successes >= n ? 1 : (centre + reach) / (1 + z * z / n);
}

/* --- ranks
 * ---------------------------------------------------------------------------------------- */

enum { EXACT_SAMPLES = 40, EXACT_PAIRS = 50 };

/* Two-sided tail of a standard normal. */
static double normal_tails(double z)
{
    return erfc(fabs(z) / sqrt(2));
}

typedef struct ranked {
    double x;
    int64_t doubled; /* twice its rank, from 2 on */
    int mine;        /* of the first set; a positive difference */
} ranked;

static int by_sample_value(const void *a, const void *b)
{
    return ascending(&((const ranked *)a)->x, &((const ranked *)b)->x);
}

/* Sort, rank; the sum of t^3 - t over ties of t values. */
static double rank_all(ranked *r, int64_t n)
{
    double ties = 0;
    qsort(r, (size_t)n, sizeof *r, by_sample_value);
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && r[j].x == r[i].x; j++)
            ;
        const double t = (double)(j - i);
        ties += t * t * t - t;
        for (int64_t k = i; k < j; k++)
            r[k].doubled = i + j + 1; /* twice the mean of ranks i + 1 to j */
    }
    return ties;
}

static int64_t sum_of_mine(const ranked *r, int64_t n)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += r[i].mine ? r[i].doubled : 0;
    return sum;
}

/* Of `room` choices by their sum, the share at least as far from the middle of all as `seen`. */
static double tails(const double *ways, int64_t room, double middle, double seen)
{
    double far = 0, all = 0;
    for (int64_t s = 0; s < room; s++) {
        all += ways[s];
        if (fabs((double)s - middle) >= fabs(seen - middle)) far += ways[s];
    }
    return far / all;
}

/* ways[k][s]: choices of k of the ranks with the sum s. */
static status exact_mann_whitney(const ranked *r, int64_t n, int64_t na, double *p)
{
    const int64_t room = n * (n + 1) + 1;
    double *ways = calloc((size_t)((na + 1) * room), sizeof *ways);
    if (!ways) return fail(ERR_MEMORY, "mann_whitney: out of memory");
    ways[0] = 1;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = na; k > 0; k--)
            for (int64_t s = room - 1; s >= r[i].doubled; s--)
                ways[k * room + s] += ways[(k - 1) * room + s - r[i].doubled];
    *p = tails(ways + na * room, room, (double)na * (double)(n + 1), (double)sum_of_mine(r, n));
    free(ways);
    return OK;
}

status mann_whitney(const double *a, int64_t na, const double *b, int64_t nb, double *p)
{
    const int64_t n = na + nb;
    *p = 1;
    if (na == 0 || nb == 0) return OK;
    ranked *r = malloc((size_t)n * sizeof *r);
    if (!r) return fail(ERR_MEMORY, "mann_whitney: out of memory");
    for (int64_t i = 0; i < n; i++)
        r[i] = (ranked){.x = i < na ? a[i] : b[i - na], .mine = i < na};
    const double ties = rank_all(r, n), x = (double)na, y = (double)nb, all = x + y;
    status s = OK;
    if (n <= EXACT_SAMPLES) {
        s = exact_mann_whitney(r, n, na, p);
    } else {
        const double u = ((double)sum_of_mine(r, n) - x * (x + 1)) / 2;
        const double variance = x * y / 12 * (all + 1 - ties / (all * (all - 1)));
        const double away = fabs(u - x * y / 2) - 0.5;
        *p = variance > 0 && away > 0 ? normal_tails(away / sqrt(variance)) : 1;
    }
    free(r);
    return s;
}

static status exact_signed_rank(const ranked *r, int64_t n, double *p)
{
    const int64_t most = n * (n + 1);
    double *ways = calloc((size_t)(most + 1), sizeof *ways);
    if (!ways) return fail(ERR_MEMORY, "signed_rank: out of memory");
    ways[0] = 1;
    for (int64_t i = 0; i < n; i++)
        for (int64_t s = most; s >= r[i].doubled; s--)
            ways[s] += ways[s - r[i].doubled];
    *p = tails(ways, most + 1, (double)most / 2, (double)sum_of_mine(r, n));
    free(ways);
    return OK;
}

status signed_rank(const double *d, int64_t n, double *p)
{
    int64_t count = 0;
    *p = 1;
    ranked *r = malloc((size_t)(n + 1) * sizeof *r);
    if (!r) return fail(ERR_MEMORY, "signed_rank: out of memory");
    for (int64_t i = 0; i < n; i++)
        if (d[i] != 0) r[count++] = (ranked){.x = fabs(d[i]), .mine = d[i] > 0};
    const double ties = rank_all(r, count), m = (double)count;
    status s = OK;
    if (count > 0 && count <= EXACT_PAIRS) {
        s = exact_signed_rank(r, count, p);
    } else if (count > 0) {
        const double w = (double)sum_of_mine(r, count) / 2;
        const double variance = m * (m + 1) * (2 * m + 1) / 24 - ties / 48;
        *p = normal_tails((w - m * (m + 1) / 4) / sqrt(variance));
    }
    free(r);
    return s;
}

void holm(double *p, int64_t n)
{
    int64_t tests = 0;
    double least = 0;
    for (int64_t i = 0; i < n; i++)
        tests += !isnan(p[i]);
    /* the smallest that is left, times the number of those that are left, and no smaller than
     * those before it; what is done is marked by 2 + p until the end */
    for (int64_t left = tests; left > 0; left--) {
        int64_t at = -1;
        for (int64_t i = 0; i < n; i++)
            if (p[i] < 2 && (at < 0 || p[i] < p[at])) at = i;
        if (p[at] * (double)left > least) least = p[at] * (double)left;
        if (least > 1) least = 1;
        p[at] = 2 + least;
    }
    for (int64_t i = 0; i < n; i++)
        if (p[i] >= 2) p[i] -= 2;
}

/* --- the bootstrap
 * -------------------------------------------------------------------------------- */

/* Random numbers of one resample. */
typedef struct draws {
    uint32_t key[2], counter[4], out[4];
    int left;
} draws;

static draws draws_of(uint64_t seed, int64_t resample)
{
    return (draws){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                   .counter = {0, 0, (uint32_t)resample, (uint32_t)((uint64_t)resample >> 32)}};
}

/* 0 .. n-1, n < 2^32, to within n / 2^32. */
static int64_t draw_below(draws *d, int64_t n)
{
    if (d->left == 0) {
        philox4x32(d->key, d->counter, d->out);
        d->counter[0]++;
        d->left = 4;
    }
    return (int64_t)(((uint64_t)d->out[--d->left] * (uint64_t)n) >> 32);
}

/* Both sides as the loop over resamples wants them. */
typedef struct sides {
    const bootstrap *how;
    launch *a, *b;  /* of medians with ascending samples, */
    double *sorted; /* which lie here                     */
    int64_t as, bs, most;
} sides;

/* How often each sample was drawn. */
static void draw_hits(draws *d, int32_t *hits, int64_t n)
{
    memset(hits, 0, (size_t)n * sizeof *hits);
    for (int64_t i = 0; i < n; i++)
        hits[draw_below(d, n)]++;
}

/* The median of ascending samples, each as often as it was drawn (hits NULL: once). */
static double drawn_median(const launch *l, const int32_t *hits)
{
    const int64_t n = l->count, lower = (n - 1) / 2, upper = n / 2;
    if (!hits) return (l->x[lower] + l->x[upper]) / 2;
    int64_t at = 0, seen = hits[0];
    while (seen <= lower)
        seen += hits[++at];
    const double low = l->x[at];
    while (seen <= upper)
        seen += hits[++at];
    return (low + l->x[at]) / 2;
}

static double drawn_mean(const launch *l, const int32_t *hits)
{
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < l->count; i++) {
        const double times = hits ? hits[i] : 1;
        sum += times * l->x[i];
        weight += times * (l->weight ? l->weight[i] : 1);
    }
    return sum / weight;
}

static double drawn_centre(contrast of, const launch *l, const int32_t *hits)
{
    return of == RATIO_OF_MEDIANS ? drawn_median(l, hits) : drawn_mean(l, hits);
}

/* What stands for all launches: sorts. */
static double centre_of(contrast of, double *x, int64_t n)
{
    double sum = 0;
    if (of == RATIO_OF_MEDIANS) {
        qsort(x, (size_t)n, sizeof *x, ascending);
        return (x[(n - 1) / 2] + x[n / 2]) / 2;
    }
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static double apart(contrast of, double a, double b)
{
    return of == RATIO_OF_MEDIANS ? b / a : b - a;
}

/* Room of one thread. */
typedef struct scratch {
    double *centre; /* of launches of a, then of b   */
    int32_t *hits;
} scratch_room;

/* One resample; d NULL: the samples as they are. */
static double one_contrast(const sides *s, scratch_room *room, draws *d)
{
    const contrast of = s->how->of;
    const pairing by = s->how->by;
    double *a = room->centre, *b = room->centre + s->as;
    int32_t *hits = d ? room->hits : NULL;
    if (d && by == BY_SAMPLE) draw_hits(d, hits, s->most);
    if (by != UNPAIRED) {
        for (int64_t i = 0; i < s->as; i++) {
            const int64_t at = d && s->as > 1 ? draw_below(d, s->as) : i;
            if (d && by == BY_LAUNCH) draw_hits(d, hits, s->a[at].count);
            const double one = drawn_centre(of, &s->a[at], hits);
            if (d && by == BY_LAUNCH) draw_hits(d, hits, s->b[at].count);
            a[i] = apart(of, one, drawn_centre(of, &s->b[at], hits));
        }
        return centre_of(of, a, s->as);
    }
    for (int64_t i = 0; i < s->as + s->bs; i++) {
        const launch *side = i < s->as ? s->a : s->b;
        const int64_t count = i < s->as ? s->as : s->bs, own = i < s->as ? i : i - s->as;
        const launch *l = &side[d && count > 1 ? draw_below(d, count) : own];
        if (d) draw_hits(d, hits, l->count);
        room->centre[i] = drawn_centre(of, l, hits);
    }
    return apart(of, centre_of(of, a, s->as), centre_of(of, b, s->bs));
}

static status room_make(scratch_room *room, const sides *s)
{
    room->centre = malloc((size_t)(s->as + s->bs) * sizeof *room->centre);
    room->hits = malloc((size_t)s->most * sizeof *room->hits);
    return room->centre && room->hits ? OK : fail(ERR_MEMORY, "bootstrap: out of memory");
}

static void room_free(scratch_room *room)
{
    free(room->centre);
    free(room->hits);
}

static status draw_all(const sides *s, double *values)
{
    status worst = OK;
#pragma omp parallel
    {
        scratch_room room = {0};
        const status made = room_make(&room, s);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s->how->resamples; i++) {
            draws d = draws_of(s->how->seed, i);
            values[i] = made == OK ? one_contrast(s, &room, &d) : NAN;
        }
        room_free(&room);
        if (made != OK) {
#pragma omp critical
            worst = made;
        }
    }
    return worst == OK ? OK : fail(worst, "bootstrap: out of memory");
}

static void sides_free(sides *s)
{
    free(s->sorted);
    free(s->a);
}

/* The samples of all launches, ascending within each. */
static status sort_sides(sides *s)
{
    int64_t samples = 0;
    for (int64_t i = 0; i < s->as + s->bs; i++)
        samples += s->a[i].count;
    double *at = s->sorted = malloc((size_t)samples * sizeof *at);
    if (!at) return fail(ERR_MEMORY, "bootstrap: out of memory");
    for (int64_t i = 0; i < s->as + s->bs; i++) {
        launch *l = &s->a[i]; /* those of b lie behind those of a */
        memcpy(at, l->x, (size_t)l->count * sizeof *at);
        qsort(at, (size_t)l->count, sizeof *at, ascending);
        l->x = at;
        at += l->count;
    }
    return OK;
}

/* Copies of the launches, of medians with ascending samples. */
static status sides_make(sides *s, const bootstrap *how, const launch *a, int64_t as,
                         const launch *b, int64_t bs)
{
    *s = (sides){.how = how, .as = as, .bs = bs};
    if (as < 1 || bs < 1 || (how->by != UNPAIRED && as != bs))
        return fail(ERR_ARG, "bootstrap: %lld and %lld launches: expected %s", (long long)as,
                    (long long)bs, how->by != UNPAIRED ? "pairs" : "at least one of each");
    for (int64_t i = 0; i < as + bs; i++) {
        const launch *l = i < as ? &a[i] : &b[i - as];
        if (l->count > s->most) s->most = l->count;
        if (l->count < 1 || l->count > INT32_MAX)
            return fail(ERR_ARG, "bootstrap: a launch of %lld samples", (long long)l->count);
    }
    for (int64_t i = 0; how->by == BY_SAMPLE && i < as; i++)
        if (a[i].count != s->most || b[i].count != s->most)
            return fail(ERR_ARG, "bootstrap: launches of %lld and %lld samples: expected pairs",
                        (long long)a[i].count, (long long)b[i].count);
    s->a = calloc((size_t)(as + bs), sizeof *s->a);
    if (!s->a) return fail(ERR_MEMORY, "bootstrap: out of memory");
    s->b = s->a + as;
    memcpy(s->a, a, (size_t)as * sizeof *a);
    memcpy(s->b, b, (size_t)bs * sizeof *b);
    return how->of == RATIO_OF_MEDIANS ? sort_sides(s) : OK;
}

status contrast_value(const bootstrap *how, const launch *a, int64_t as, const launch *b,
                      int64_t bs, double *value)
{
    sides of;
    scratch_room room = {0};
    status s = sides_make(&of, how, a, as, b, bs);
    if (s == OK) s = room_make(&room, &of);
    if (s == OK) *value = one_contrast(&of, &room, NULL);
    room_free(&room);
    sides_free(&of);
    return s;
}

status bootstrap_interval(const bootstrap *how, const launch *a, int64_t as, const launch *b,
                          int64_t bs, interval *of)
{
    sides two = {0};
    TRY(contrast_value(how, a, as, b, bs, &of->value));
    double *values = malloc((size_t)how->resamples * sizeof *values);
    status s =
        values ? sides_make(&two, how, a, as, b, bs) : fail(ERR_MEMORY, "bootstrap: out of memory");
    if (s == OK) s = draw_all(&two, values);
    if (s == OK) {
        qsort(values, (size_t)how->resamples, sizeof *values, ascending);
        of->low = quantile(values, how->resamples, 0.025);
        of->high = quantile(values, how->resamples, 0.975);
    }
    sides_free(&two);
    free(values);
    return s;
}

/* --- verdicts
 * -------------------------------------------------------------------------------------- */

judgement judge(const interval *of, contrast c, double margin, double p, double level, int more)
{
    const double zero = c == RATIO_OF_MEDIANS;
    if (of->low >= zero - margin && of->high <= zero + margin) return SAME;
    if (!(p < level)) return AMBIGUOUS;
    if (of->low > zero + margin) return more ? BETTER : WORSE;
    if (of->high < zero - margin) return more ? WORSE : BETTER;
    return AMBIGUOUS;
}

const char *judgement_text(judgement j, contrast c)
{
    static const char *const texts[2][4] = {
        [RATIO_OF_MEDIANS] = {"SAME", "FASTER", "SLOWER", "AMBIGUOUS"},
        [DIFFERENCE_OF_MEANS] = {"SAME", "BETTER", "WORSE", "AMBIGUOUS"}};
    return texts[c][j];
}
