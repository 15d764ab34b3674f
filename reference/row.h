/* SPDX-License-Identifier: MIT
 *
 * row.h — what every row transform does the same way: the special rows of the contract (spec.h),
 * checked before any arithmetic; a sort, and a selection by it.
 *
 * A forward opens a row with row_open and computes only if keys remain; a backward opens it with
 * row_open_grad. Keys with score -inf count as absent: they are not in `keys`.
 */
#ifndef MOSAIC_ROW_H
#define MOSAIC_ROW_H

#include <math.h>

#include "spec.h"

/* The live entries c[0..n) of one row. */
typedef struct row {
    int64_t n;    /* live entries                  */
    int64_t keys; /* of those, scores above -inf   */
    int64_t arg;  /* lowest index of the maximum   */
    double max;
} row;

static inline int64_t row_live(const args *a, int64_t r)
{
    return a->live ? a->live[r] : a->d.N;
}

static inline double row_beta(const double *beta, int64_t r)
{
    return beta ? beta[r] : 1;
}

/* beta > 0 with beta^power finite and not 0, so that beta^power * -inf is -inf; live in 0..N. */
static inline status row_check(const char *op, const args *a, const double *beta, int power)
{
    for (int64_t r = 0; r < a->d.R; r++) {
        const double b2 = row_beta(beta, r) * row_beta(beta, r), b = power == 4 ? b2 * b2 : b2;
        if (!(row_beta(beta, r) > 0 && b > 0 && b < INFINITY))
            return fail(ERR_ARG,
                        "%s: beta[%lld] is %g: expected a positive number of moderate size", op,
                        (long long)r, beta[r]);
        if (row_live(a, r) < 0 || row_live(a, r) > a->d.N)
            return fail(ERR_ARG, "%s: live[%lld] is %lld: expected 0 to %lld", op, (long long)r,
                        (long long)row_live(a, r), (long long)a->d.N);
    }
    return OK;
}

static inline void row_stat(double *stat, int64_t r, double max, double norm, int64_t arg,
                            int64_t count)
{
    if (!stat) return;
    stat[r * STATS + STAT_MAX] = max;
    stat[r * STATS + STAT_NORM] = norm;
    stat[r * STATS + STAT_ARG] = (double)arg;
    stat[r * STATS + STAT_COUNT] = (double)count;
}

/* Scan row r and zero p beyond its live entries. False if the row is finished: no keys, or NaN. */
static inline int row_open(const args *a, int64_t r, const double *c, double *p, double *stat,
                           row *x)
{
    int broken = 0;
    x->n = row_live(a, r);
    x->keys = 0;
    x->arg = -1;
    x->max = -INFINITY;
    for (int64_t j = 0; j < x->n; j++) {
        broken |= !(c[j] < INFINITY);
        x->keys += c[j] > -INFINITY;
        if (c[j] > x->max) {
            x->max = c[j];
            x->arg = j;
        }
    }
    const int finished = broken || x->keys == 0;
    for (int64_t j = finished ? 0 : x->n; j < a->d.N; j++)
        p[j] = broken && j < x->n ? NAN : 0;
    if (finished) row_stat(stat, r, broken ? NAN : 0, broken ? NAN : 0, -1, 0);
    return !finished;
}

/* Divide p[0..n) by its sum, which is returned, and count what is above 0. The sum is compensated
 * (Kahan): the rounding of thousands of equal weights would otherwise add up, not average out. */
static inline double row_normalise(double *p, int64_t n, int64_t *count)
{
    double sum = 0, lost = 0;
    for (int64_t j = 0; j < n; j++) {
        const double term = p[j] - lost, next = sum + term;
        lost = (next - sum) - term;
        sum = next;
    }
    *count = 0;
    for (int64_t j = 0; j < n; j++)
        *count += (p[j] /= sum) > 0;
    return sum;
}

/* Zero the gradients of row r; NaN over the live entries of a NaN row. False if that is all. */
static inline int row_open_grad(const args *a, int64_t r, const double *stat, double *dc,
                                double *dbeta)
{
    const int broken = isnan(stat[r * STATS + STAT_MAX]);
    for (int64_t j = 0; j < a->d.N; j++)
        dc[j] = broken && j < row_live(a, r) ? NAN : 0;
    if (dbeta) dbeta[r] = broken ? NAN : 0;
    return stat[r * STATS + STAT_ARG] >= 0;
}

/* Ascending heapsort: in place, n log n at worst. */
static inline void heap_sort(double *x, int64_t n)
{
    int64_t start = n / 2, end = n;
    while (end > 1) {
        double value;
        if (start > 0) {
            value = x[--start];
        } else {
            value = x[--end];
            x[end] = x[0];
        }
        int64_t hole = start;
        for (int64_t child; (child = 2 * hole + 1) < end; hole = child) {
            if (child + 1 < end && x[child + 1] > x[child]) child++;
            if (!(x[child] > value)) break;
            x[hole] = x[child];
        }
        x[hole] = value;
    }
}

/* Ascending insertion sort, for a few numbers. */
static inline void insertion_sort(double *x, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        const double value = x[i];
        int64_t hole = i;
        for (; hole > 0 && x[hole - 1] > value; hole--)
            x[hole] = x[hole - 1];
        x[hole] = value;
    }
}

/* Put the median of the first, middle and last number where it belongs, smaller numbers before it
 * and the others after. Returns where. No branch depends on a comparison that nobody can foresee.
 */
static inline int64_t split_at_pivot(double *x, int64_t n)
{
    double three[3] = {x[0], x[n / 2], x[n - 1]};
    insertion_sort(three, 3);
    const double pivot = three[1];
    int64_t at = x[0] == pivot ? 0 : x[n / 2] == pivot ? n / 2 : n - 1, below = 0;
    x[at] = x[0];
    for (int64_t i = 1; i < n; i++) {
        const double value = x[i];
        x[i] = x[below + 1];
        x[below + 1] = value;
        below += value < pivot;
    }
    x[0] = x[below];
    x[below] = pivot;
    return below;
}

/* Quicksort; what is left after so many bad pivots is sorted by the heap. */
static inline void quick_sort(double *x, int64_t n, int splits)
{
    while (n > 16 && splits > 0) {
        const int64_t middle = split_at_pivot(x, n);
        splits--;
        quick_sort(x, middle, splits);
        x += middle + 1;
        n -= middle + 1;
    }
    if (n > 16)
        heap_sort(x, n);
    else
        insertion_sort(x, n);
}

/* Ascending, in place, n log n at worst; the result of sorting numbers is unique. */
static inline void sort_ascending(double *x, int64_t n)
{
    int splits = 0;
    for (int64_t part = n; part > 1; part /= 2)
        splits += 2;
    quick_sort(x, n, splits);
}

/* Mark the min(k, keys) largest scores, the lowest indices among equals: p is 1 there, else 0.
 * Returns how many. */
static inline int64_t row_select(const double *c, const row *x, int64_t k, double *p)
{
    int64_t m = 0, take = k < x->keys ? k : x->keys, equal = take;
    for (int64_t j = 0; j < x->n; j++)
        if (c[j] > -INFINITY) p[m++] = c[j];
    sort_ascending(p, m);
    const double last = p[m - take];
    for (int64_t j = 0; j < x->n; j++)
        equal -= c[j] > last;
    for (int64_t j = 0; j < x->n; j++)
        p[j] = c[j] > last || (c[j] == last && equal-- > 0);
    return take;
}

#endif
