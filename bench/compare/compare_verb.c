/* SPDX-License-Identifier: MIT
 *
 * compare_verb.c — verb compare: which rows of which files are the two sides, and where what is
 * said of them goes.
 */
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "tabular.h"

/* The rows of the files of a key lie behind those that are there. */
static status read_side(sources *v, const words *w, const char *key)
{
    int wanted[TABLES] = {[TIME] = SAMPLES_TOO, [EVAL] = SAMPLES_TOO, [STAGE_TIMES] = SAMPLES_TOO};
    char **path = NULL;
    int64_t count = 0;
    status s = OK;
    for (int64_t i = 0; s == OK && i < word_count(w, key); i++)
        s = results_paths(word_text_at(w, key, i), &path, &count);
    if (s == OK && count == 0)
        s = fail(ERR_FILE, "compare: %s: no result file among what was named", key);
    for (int64_t i = 0; s == OK && i < count; i++)
        s = sources_read(v, path[i], wanted);
    results_paths_free(path, count);
    return s;
}

/* Both sides, and where in each table the fresh one begins. */
static status read_sides(sources *v, const words *w, int64_t border[TABLES])
{
    const int both = word_given(w, "in");
    TRY(read_side(v, w, both ? "in" : "base"));
    for (int t = 0; t < TABLES; t++)
        border[t] = v->rows[t].count;
    return both ? OK : read_side(v, w, "new");
}

static status check_words(const words *w)
{
    const int in = word_given(w, "in"), base = word_given(w, "base"), new = word_given(w, "new");
    const int a = word_given(w, "a"), b = word_given(w, "b");
    if (a != b) return fail(ERR_ARG, "compare: expected both a= and b=");
    if (in && (base || new)) return fail(ERR_ARG, "compare: expected in=, or base= and new=");
    if (in && !a)
        return fail(ERR_ARG, "compare: in=: expected a= and b=, which tell the sides apart");
    if (!in && !(base && new)) return fail(ERR_ARG, "compare: expected base= and new=, or in=");
    return OK;
}

/* The end of a path or condition that is too long for a column. */
static const char *column_name(const char *text)
{
    const size_t n = strlen(text), room = sizeof(NAME_) - 1;
    return n > room ? text + n - room : text;
}

static status read_side_plan(side_plan *p, table of, const words *w, const char *chosen,
                             const char *files)
{
    const char *text = word_text(w, chosen);
    p->name = column_name(*text ? text : word_text(w, files));
    return filter_read(&p->keep, of, text);
}

static unsigned across_of(const words *w)
{
    return (word_chooses(w, "across", "device") ? ACROSS_DEVICE : 0u) |
           (word_chooses(w, "across", "build") ? ACROSS_BUILD : 0u) |
           (word_chooses(w, "across", "inputs") ? ACROSS_INPUTS : 0u);
}

/* Columns of by= are columns. */
static status check_by(const char *by, table of)
{
    field f;
    for (const char *at = by; *at; at += strcspn(at, "+"), at += *at == '+') {
        TRY(field_find(of, at, strcspn(at, "+"), &f));
        if (!f.stored)
            return fail(ERR_DATA, "by=%.*s: expected a column of /%s", (int)strcspn(at, "+"), at,
                        table_name(of));
    }
    return OK;
}

static status make_plan(compare_plan *p, const sources *v, table of, int64_t border, const words *w)
{
    *p = (compare_plan){.rows = &v->rows[of], .each = v->each[of], .by = word_text(w, "by")};
    p->across = across_of(w);
    p->margin = word_real(w, "margin");
    p->level = word_real(w, "level");
    p->resamples = word_int(w, "resamples");
    p->seed = (uint64_t)word_int(w, "seed");
    const int both = word_given(w, "in");
    p->base.last = border;
    p->fresh.first = both ? 0 : border;
    p->fresh.last = p->rows->count;
    TRY(check_by(p->by, of));
    TRY(filter_read(&p->keep, of, word_text(w, "keep")));
    TRY(read_side_plan(&p->fresh, of, w, "a", "new"));
    return read_side_plan(&p->base, of, w, "b", "base");
}

/* The table asked for, or the first that has rows on both sides. */
static status find_table(const sources *v, const words *w, const int64_t *border, table *of)
{
    static const table order[] = {TIME, EVAL, STAGE_TIMES};
    const char *asked = word_text(w, "table");
    const int both = word_given(w, "in");
    if (*asked) return *of = table_find(asked), OK;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        *of = order[i];
        if (border[*of] > 0 && (both || v->rows[*of].count > border[*of])) return OK;
    }
    return fail(ERR_DATA, "compare: no table of both sides among time, eval and stage: see `mosaic "
                          "print`");
}

/* --- what is said
 * --------------------------------------------------------------------------------- */

static void put_number(char text[32], double x)
{
    snprintf(text, 32, tabular_short() ? "%.4g" : "%.6g", x);
}

/* For people and papers: what a reader of a comparison looks for. */
static void print_short(const compare_row *row, int64_t count)
{
    static const tabular_column columns[] = {
        {"point", "", 0, 32}, {"base", "", 1, 9}, {"new", "", 1, 9},
        {"", "", 1, 8},       {"low", "", 1, 8},  {"high", "", 1, 8},
        {"p", "", 1, 8},      {"n", "", 0, 11},   {"verdict", "", 0, 9}};
    tabular_column now[sizeof columns / sizeof *columns];
    char text[6][32], n[64], verdict[48], name[POINT_NAME];
    memcpy(now, columns, sizeof now);
    now[3].name = row->contrast;
    tabular_begin(NULL, now, sizeof now / sizeof *now);
    for (int64_t i = 0; i < count; i++) {
        const compare_row *r = &row[i];
        const double numbers[] = {r->base_value, r->fresh_value, r->value, r->low, r->high, r->p};
        comparison_name(row, count, i, name);
        for (int k = 0; k < 6; k++)
            put_number(text[k], numbers[k]);
        snprintf(n, sizeof n, "%lld+%lld x %lld", (long long)r->base_launches,
                 (long long)r->launches, (long long)r->samples);
        snprintf(verdict, sizeof verdict, "%s%s", r->verdict, r->noisy ? " ~" : "");
        const char *cells[] = {name,    text[0], text[1], text[2], text[3],
                               text[4], text[5], n,       verdict};
        tabular_row(cells);
    }
}

void comparison_print(const words *w, const comparison *c)
{
    const char *format = word_text(w, "format");
    const int brief = tabular_short() || strcmp(format, "md") == 0 || strcmp(format, "tex") == 0;
    if (brief) print_short(c->row, c->count);
    for (int64_t i = 0; !brief && i < c->count; i++)
        results_print(COMPARED, &c->row[i], i == 0);
    tabular_end();
    fflush(stdout);
}

void comparison_tell(const char *verb, const comparison *c, const compare_plan *p)
{
    char text[200], common[POINT_NAME];
    int noisy = 0;
    if (getenv("MOSAIC_QUIET")) return;
    comparison_text(c->row, c->count, text, sizeof text);
    comparison_common(c->row, c->count, common);
    fprintf(stderr, "%s: %s with %s: %s\n", verb, p->fresh.name, p->base.name, text);
    fprintf(stderr, "%s: all of %s\n", verb, common);
    if (c->alone[0] + c->alone[1] > 0)
        fprintf(stderr, "%s: without a point on the other side: %lld rows of %s, %lld of %s%s%s\n",
                verb, (long long)c->alone[1], p->fresh.name, (long long)c->alone[0], p->base.name,
                *c->apart ? ": " : "", c->apart);
    for (int64_t i = 0; i < c->count; i++)
        noisy += c->row[i].noisy != 0;
    if (noisy > 0)
        fprintf(stderr,
                "%s: %d noisy point%s (~): quartiles further apart than %.0f %% of the "
                "median\n",
                verb, noisy, noisy == 1 ? "" : "s", 100 * NOISY_SHARE);
}

static status store(const words *w, const comparison *c)
{
    results *r;
    TRY(results_create(&r, word_text(w, "out"), w));
    status s = OK;
    for (int64_t i = 0; s == OK && i < c->count; i++)
        s = results_append(r, COMPARED, &c->row[i]);
    const status closed = results_close(r, s == OK);
    return s != OK ? s : closed;
}

static status publish(const words *w, const compare_plan *p, const comparison *c)
{
    const char *figure = word_text(w, "figure");
    char title[200];
    snprintf(title, sizeof title, "%s with %s", p->fresh.name, p->base.name);
    comparison_print(w, c);
    TRY(store(w, c));
    if (*figure) TRY(comparison_draw(c->row, c->count, title, figure));
    comparison_tell("compare", c, p);
    return OK;
}

int verb_compare(const words *w)
{
    sources v;
    compare_plan *p = malloc(sizeof *p);
    comparison c = {0};
    int64_t border[TABLES];
    table of = TIME;
    sources_start(&v);
    tabular_format(word_text(w, "format"));
    status s = p ? check_words(w) : fail(ERR_MEMORY, "compare: out of memory");
    if (s == OK) s = read_sides(&v, w, border);
    if (s == OK) s = find_table(&v, w, border, &of);
    if (s == OK) s = make_plan(p, &v, of, border[of], w);
    if (s == OK) s = compare_rows(p, &c);
    if (s == OK) s = publish(w, p, &c);
    const int code = s == OK ? comparison_exit(c.row, c.count) : EXIT_NO_VERDICT;
    if (s != OK) (void)status_exit(s);
    comparison_free(&c);
    sources_free(&v);
    free(p);
    return code;
}
