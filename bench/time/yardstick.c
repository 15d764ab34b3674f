/* SPDX-License-Identifier: MIT
 *
 * yardstick.c — see yardstick.h.
 */
#include "yardstick.h"

#include <time.h>

#include "op/inputs.h"

enum { YARD_ROWS = 64, YARD_LENGTH = 1024 };

status yardstick_open(yardstick *y, const backend *where)
{
    const op *o = op_at(OP_softmax);
    const impl *im = impl_reference(OP_softmax);
    const dims d = {
        .B = 1, .T = 1, .H = 1, .D = 1, .C = 1, .R = YARD_ROWS, .N = YARD_LENGTH, .V = 1, .M = 1};
    const params p = call_params(o);
    *y = (yardstick){.where = where};
    if (im->where != where) return OK;
    TRY(call_create(&y->of, o, im, &d, &p, F64));
    status s = inputs_fill(y->of, "scores", 1, 7);
    if (s == OK) s = call_put(y->of);
    if (s != OK) yardstick_close(y);
    return s;
}

void yardstick_close(yardstick *y)
{
    if (y->of) call_destroy(y->of);
    y->of = NULL;
}

/* The clock of the reference's samples. */
static double own_seconds(void)
{
    struct timespec t;
    if (threads_now() > 1) return seconds_now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

status yardstick_sample(const yardstick *y, double *seconds)
{
    double rate;
    if (y->of) {
        /* its cache is cold: that of the sample before was emptied */
        const args a = call_args(y->of);
        const double start = own_seconds();
        TRY(y->of->impl->run(&a));
        *seconds = own_seconds() - start;
        return OK;
    }
    TRY(y->where->copy_rate(&rate));
    *seconds = 1e9 / rate;
    return OK;
}

status beside_sample(void *user, double *seconds)
{
    beside *b = user;
    const int64_t i = b->calls++ - b->warmups;
    const int first = b->calls % 2;
    double before = 0, after = 0;
    if (first) TRY(yardstick_sample(b->y, &before));
    TRY(b->sample(b->user, seconds));
    if (!first) TRY(yardstick_sample(b->y, &after));
    if (i >= 0) b->seconds[i] = first ? before : after;
    return OK;
}
