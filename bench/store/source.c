/* SPDX-License-Identifier: MIT
 *
 * source.c — rows of many files with what made them, and which of them may share a number.
 */
#include "source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "field.h"

/* --- reading ---------------------------------------------------------------------------------- */

void sources_start(sources *v)
{
    *v = (sources){0};
    for (int t = 0; t < TABLES; t++)
        v->rows[t].of = (table)t;
}

static status read_origin(origin *o, const stored *f, int64_t i, const char *path)
{
    o->path = path;
    o->copy = stored_origin_number(f, i, "copy_cuda");
    TRY(stored_origin_text(f, i, "commit", o->commit, sizeof o->commit));
    TRY(stored_origin_text(f, i, "created", o->created, sizeof o->created));
    TRY(stored_origin_text(f, i, "sources", o->sources, sizeof o->sources));
    TRY(stored_origin_text(f, i, "compiler", o->compiler, sizeof o->compiler));
    TRY(stored_origin_text(f, i, "cpu", o->cpu, sizeof o->cpu));
    TRY(stored_origin_text(f, i, "device", o->device, sizeof o->device));
    return stored_origin_text(f, i, "device_driver", o->driver, sizeof o->driver);
}

static double *copy_numbers(const double *x, int64_t count)
{
    double *copy = malloc((size_t)(count + 1) * sizeof *copy);
    if (copy) memcpy(copy, x, (size_t)count * sizeof *copy);
    return copy;
}

/* What stands behind `count` rows in a file, as the x or the weight of each. */
static status read_raw(const stored *f, raw what, behind *each, int64_t count, int weight)
{
    double *samples;
    int64_t rows, width;
    TRY(stored_samples(f, what, &samples, &rows, &width));
    int good = 1;
    for (int64_t i = 0; i < rows && i < count; i++) {
        const double *at = samples + i * width;
        const int64_t n = samples_count(at, width);
        double **to = weight ? &each[i].weight : &each[i].x;
        /* a sum may be NaN, a count is none */
        if (weight || what == RAW_TIMES) each[i].count = n;
        if (n > 0 || what == RAW_SUMS) good &= (*to = copy_numbers(at, weight ? n : width)) != NULL;
    }
    free(samples);
    return good ? OK : fail(ERR_MEMORY, "result files: out of memory");
}

static status append_behind(sources *v, table of, const stored *f, int64_t before, int64_t count)
{
    behind *more = realloc(v->each[of], (size_t)(before + count + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "result files: out of memory");
    v->each[of] = more;
    memset(more + before, 0, (size_t)(count + 1) * sizeof *more);
    if (of == TIME) TRY(read_raw(f, RAW_YARDS, more + before, count, 1));
    if (of == TIME) return read_raw(f, RAW_TIMES, more + before, count, 0);
    if (of != EVAL) return OK;
    TRY(read_raw(f, RAW_SUMS, more + before, count, 0));
    return read_raw(f, RAW_COUNTS, more + before, count, 1);
}

/* The rows of a table, each with its origin; first: the number of the first origin of the file. */
static status append_source(sources *v, source *s, const stored *f, int first, int64_t origins,
                            int wanted)
{
    const size_t size = table_row_size(s->of);
    void *rows;
    int64_t count, at = 0;
    TRY(stored_rows(f, s->of, &rows, &count));
    char *more = realloc(s->rows, (size_t)(s->count + count + 1) * size);
    if (more) s->rows = more;
    int *from =
        more ? realloc(v->from[s->of], (size_t)(s->count + count + 1) * sizeof *from) : NULL;
    status done = from ? OK : fail(ERR_MEMORY, "result files: out of memory");
    if (from) v->from[s->of] = from;
    if (done == OK && wanted == SAMPLES_TOO) done = append_behind(v, s->of, f, s->count, count);
    if (done == OK) {
        if (count > 0) memcpy(more + (size_t)s->count * size, rows, (size_t)count * size);
        for (int64_t i = 0; i < origins; i++)
            for (int64_t n = stored_origin_rows(f, i, s->of, count); n > 0 && at < count; n--)
                from[s->count + at++] = first + (int)i;
        s->count += count;
    }
    free(rows);
    if (done != OK) return done;
    return at == count ? OK : fail(ERR_DATA, "%s: /sources is damaged", v->origin[first].path);
}

/* A path that lives as long as the rows do; NULL without memory. */
static const char *keep_path(sources *v, const char *path)
{
    char **more = realloc(v->path, (size_t)(v->paths + 1) * sizeof *more);
    if (!more) return NULL;
    v->path = more;
    more[v->paths] = strdup(path);
    return more[v->paths] ? more[v->paths++] : NULL;
}

status sources_read(sources *v, const char *path, const int *wanted)
{
    stored *f;
    int64_t origins = 0;
    TRY(stored_open(path, &f));
    v->unfinished += !stored_finished(f);
    const int first = v->origins;
    const char *kept = keep_path(v, path);
    status s = stored_origins(f, &origins);
    origin *more =
        s == OK ? realloc(v->origin, (size_t)(first + origins + 1) * sizeof *more) : NULL;
    if (s == OK && !(more && kept)) s = fail(ERR_MEMORY, "result files: out of memory");
    if (more) v->origin = more;
    for (int64_t i = 0; s == OK && i < origins; i++)
        s = read_origin(&v->origin[v->origins++], f, i, kept);
    for (int t = 0; s == OK && t < TABLES; t++)
        if (wanted[t]) s = append_source(v, &v->rows[t], f, first, origins, wanted[t]);
    stored_close(f);
    for (int t = 0; t < TABLES; t++) {
        v->rows[t].from = v->from[t];
        v->rows[t].origin = v->origin;
    }
    return s;
}

void sources_free(sources *v)
{
    for (int t = 0; t < TABLES; t++) {
        for (int64_t i = 0; v->each[t] && i < v->rows[t].count; i++) {
            free(v->each[t][i].x);
            free(v->each[t][i].weight);
        }
        free(v->rows[t].rows);
        free(v->each[t]);
        free(v->from[t]);
    }
    for (int i = 0; i < v->paths; i++)
        free(v->path[i]);
    free(v->path);
    free(v->origin);
    *v = (sources){0};
}

/* --- what may share a number ------------------------------------------------------------------ */

const char *origin_device(const origin *o)
{
    return *o->device ? o->device : o->cpu;
}

static status origins_differ(const origin *a, const origin *b, const char *what, const char *of_a,
                             const char *of_b)
{
    return fail(ERR_DATA, "rows of two %s: %.80s (%.200s) and %.80s (%.200s): expected one", what,
                of_a, a->path, of_b, b->path);
}

/* May rows of these origins share a number, or with `across` stand beside each other? measured: the
 * machine decides it. */
static status origin_same(const origin *a, const origin *b, int measured, unsigned across)
{
    const char *one = origin_device(a), *two = origin_device(b);
    if (a == b) return OK;
    if (across & ACROSS_DEVICE) one = two;
    if (measured && strcmp(one, two) != 0) return origins_differ(a, b, "devices", one, two);
    if (measured && !(across & ACROSS_DEVICE) && strcmp(a->driver, b->driver) != 0)
        return origins_differ(a, b, "drivers", a->driver, b->driver);
    if (across & ACROSS_BUILD) return OK;
    if (measured && strcmp(a->compiler, b->compiler) != 0)
        return origins_differ(a, b, "compilers", a->compiler, b->compiler);
    if (strcmp(a->sources, b->sources) != 0)
        return origins_differ(a, b, "builds", a->commit, b->commit);
    return OK;
}

/* Does the machine decide the numbers of a row? The reference has the same bits everywhere. */
static int machine_decides(table of, const char *row)
{
    const char *ran_on = "";
    if (of == TRAIN) ran_on = ((const train_row *)(const void *)row)->backend;
    if (of == EVAL) ran_on = ((const eval_row *)(const void *)row)->backend;
    return of != ROW && strcmp(ran_on, "ref") != 0 && strcmp(ran_on, "none") != 0;
}

status source_comparable(const source *s, int64_t i, int64_t j, unsigned across)
{
    const char *row = s->rows + (size_t)i * table_row_size(s->of);
    if (!s->from) return OK;
    return origin_same(&s->origin[s->from[i]], &s->origin[s->from[j]], machine_decides(s->of, row),
                       across);
}

status source_same_origin(const source *s, int64_t i, int64_t j)
{
    return source_comparable(s, i, j, 0);
}

/* The values of two rows in a column, as text; 1 if they are the same. */
int same_value(const column *c, const char *a, const char *b, char text[2][64])
{
    const field f = {.stored = c};
    datum d[2] = {field_read(TABLES, &f, a), field_read(TABLES, &f, b)};
    for (int i = 0; i < 2; i++)
        if (d[i].is_name)
            snprintf(text[i], 64, "%s", d[i].name);
        else
            snprintf(text[i], 64, "%.9g", d[i].number);
    if (d[0].is_name) return strcmp(a + c->offset, b + c->offset) == 0;
    return d[0].number == d[1].number || (isnan(d[0].number) && isnan(d[1].number));
}

/* Is the word of a configuration at `at` among those of the list, by commas? */
static int is_listed(const char *at, const char *list)
{
    const size_t n = strcspn(at, "= ");
    for (; *list; list += strcspn(list, ","), list += *list == ',')
        if (strcspn(list, ",") == n && strncmp(list, at, n) == 0) return 1;
    return 0;
}

int configs_differ(table of, const char *a, const char *b, const char *but, char what[200])
{
    const char *texts[2] = {a, b};
    for (int i = 0; i < 2; i++)
        for (const char *at = texts[i]; *at; at += strcspn(at, " "), at += *at == ' ') {
            char name[64];
            const char *fallback = "", *value[2];
            size_t length[2];
            if (is_listed(at, but)) continue;
            snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "= "), at);
            if (!config_word(of, name, &fallback)) fallback = "";
            for (int k = 0; k < 2; k++)
                value[k] = config_value(texts[k], name, fallback, &length[k]);
            if (length[0] == length[1] && strncmp(value[0], value[1], length[0]) == 0) continue;
            snprintf(what, 200, "%s (%.*s and %.*s)", name, (int)length[0], value[0],
                     (int)length[1], value[1]);
            return 1;
        }
    return 0;
}

status source_same_but_seed(const source *s, int64_t i, int64_t j, int *seeds)
{
    int count;
    const column *c = table_columns(s->of, &count);
    const size_t size = table_row_size(s->of);
    const char *a = s->rows + (size_t)i * size, *b = s->rows + (size_t)j * size;
    char text[2][64];
    *seeds = 0;
    for (int k = 0; k < count; k++)
        if (c[k].role == ROLE_SEED && !same_value(&c[k], a, b, text)) *seeds = 1;
    for (int k = 0; k < count; k++) {
        if (c[k].role == ROLE_SEED || c[k].role == ROLE_FOUND) continue;
        if ((c[k].role == ROLE_EACH && *seeds) || same_value(&c[k], a, b, text)) continue;
        char what[200];
        snprintf(what, sizeof what, "%s (%.60s and %.60s)", c[k].name, text[0], text[1]);
        if (c[k].type == COL_WORDS)
            (void)configs_differ(s->of, a + c[k].offset, b + c[k].offset, "", what);
        return fail(ERR_DATA, "%s", what);
    }
    return OK;
}
