/* SPDX-License-Identifier: MIT
 *
 * list.c — the lists of the project as tables: what verb list prints (tabular.h, or gnuplot line
 * styles), and the names that the values of a key come from (verbs.def).
 */
#include <string.h>

#include "marks.h"
#include "op/op.h"
#include "tabular.h"
#include "verb.h"

/* --- the rows of each list, as text ---------------------------------------------------------- */

static const char *const ops[][8] = {
#define OP(name, title, signature, grad, kind, reads, laws, tol, flop, source)                     \
    {#name, title, signature, #grad, #kind, #reads, #laws, source},
#include "ops.def"
#undef OP
};

static const char *const methods[][8] = {
#define METHOD(name, label, op, colour, dash, mark, shown, ...)                                    \
    {#name, label, #op, #__VA_ARGS__, colour, dash, #mark, #shown},
#include "methods.def"
#undef METHOD
};

static const char *const tasks[][2] = {
#define TASK(name, file, title) {#name, title},
#include "tasks.def"
#undef TASK
};

static const char *const baselines[][4] = {
#define BASELINE(name, order, label, colour, dash) {#name, label, colour, dash},
#include "baselines.def"
#undef BASELINE
};

static const char *const verbs[][5] = {
#define VERB(name, about) {#name, "", "", "", about},
#define KEY(name, kind, fallback, bound, help) {"", #name, fallback, bound, help},
#include "verbs.def"
#undef VERB
#undef KEY
};

static const char *const columns[][5] = {
#define CHECK_COLUMN(name, type, role, unit, meaning) {"check", #name, #role, unit, meaning},
#define TIME_COLUMN(name, type, role, unit, meaning) {"time", #name, #role, unit, meaning},
#define TRAIN_COLUMN(name, type, role, unit, meaning) {"train", #name, #role, unit, meaning},
#define EVAL_COLUMN(name, type, role, unit, meaning) {"eval", #name, #role, unit, meaning},
#define ROW_COLUMN(name, type, role, unit, meaning) {"row", #name, #role, unit, meaning},
#define STAGE_COLUMN(name, type, role, unit, meaning) {"stage", #name, #role, unit, meaning},
#define SAMPLE_COLUMN(name, type, role, unit, meaning) {"sample", #name, #role, unit, meaning},
#define COMPARE_COLUMN(name, type, role, unit, meaning) {"compare", #name, #role, unit, meaning},
#include "store/columns.def"
};

static const char *const selftests[][3] = {
#define SELFTEST(name, label, about) {#name, #label, about},
#include "test/selftests.def"
#undef SELFTEST
};

static const char *const switches[][4] = {
#define SWITCH(name, value, values, about) {#name, #value, values, about},
#include "switches.def"
#undef SWITCH
};

static const char *const inputs[][2] = {
#define INPUT(name, about) {#name, about},
#include "op/inputs.def"
#undef INPUT
};

static const char *const sequences[][2] = {
#define SEQUENCE(name, about) {#name, about},
#include "op/sequences.def"
#undef SEQUENCE
};

static const char *const claims[][3] = {
#define CLAIM(name, tol, about) {#name, #tol, about},
#include "check/claims.def"
#undef CLAIM
};

static const char *const laws[][4] = {
#define LAW(name, of, root, units, about) {#name, #of, #root " root + " #units " u", about},
#include "check/laws.def"
#undef LAW
};

/* The i-th row of a list; NULL past the end. */
typedef const char *const *row_at(int i);

#define ROWS(list)                                                                                 \
    static const char *const *list##_row(int i)                                                    \
    {                                                                                              \
        return i < (int)(sizeof list / sizeof *list) ? list[i] : NULL;                             \
    }
ROWS(ops)
ROWS(methods)
ROWS(tasks)
ROWS(baselines)
ROWS(verbs)
ROWS(columns)
ROWS(selftests)
ROWS(switches)
ROWS(inputs)
ROWS(sequences)
ROWS(claims)
ROWS(laws)

/* Sets of types and transforms as words; "any" of all transforms. */
static void types_text(unsigned types, char *text, size_t size)
{
    size_t at = 0;
    *text = '\0';
    for (int t = F64; t <= F16; t++)
        if (types & TYPE_BIT(t))
            at +=
                (size_t)snprintf(text + at, size - at, "%s%s", at ? " " : "", type_name((dtype)t));
}
static void transforms_text(uint64_t transforms, char *text, size_t size)
{
    size_t at = 0;
    snprintf(text, size, "any");
    for (int k = 0; transforms != ANY_TRANSFORM && transform_at(k) != OP_none; k++)
        if (transforms >> transform_at(k) & 1 && at < size)
            at += (size_t)snprintf(text + at, size - at, "%s%s", at ? " " : "",
                                   op_name(transform_at(k)));
}
static void limits_text(unsigned limits, char *text, size_t size)
{
    size_t at = 0;
    *text = '\0';
#define LIMIT(name, of, takes, holds)                                                              \
    if ((limits & ONLY(name)) && at < size)                                                        \
        at += (size_t)snprintf(text + at, size - at, "%s%s", at ? "; " : "", takes);
#include "limits.def"
#undef LIMIT
}
static void sizes_text(const impl *i, char *text, size_t size)
{
    size_t at = 0;
    snprintf(text, size, "any");
    if (i->width != ANY) at = (size_t)snprintf(text, size, "D <= %lld", (long long)i->width);
    if (i->length != ANY)
        snprintf(text + at, size - at, "%sT <= %lld", at ? ", " : "", (long long)i->length);
}

/* Why it cannot run here, whatever the call; "" if it can. */
static const char *not_here(const impl *i)
{
    const card c = card_present();
    const char *absent = impl_absent(i);
    const char *only = absent ? NULL : limit_broken(i->limits, NULL, &c);
    return absent ? absent : only ? "this card has another compute capability" : "";
}

/* Those of this build (backends.h). */
static const char *const *impls_row(int i)
{
    static char types[40], transforms[200], sizes[60], limits[400];
    static const char *row[8];
    const impl *im = impl_at(i);
    if (!im) return NULL;
    types_text(im->types, types, sizeof types);
    transforms_text(im->transforms, transforms, sizeof transforms);
    sizes_text(im, sizes, sizeof sizes);
    limits_text(im->limits, limits, sizeof limits);
    row[0] = op_name(im->op);
    row[1] = im->name;
    row[2] = types;
    row[3] = transforms;
    row[4] = sizes;
    row[5] = limits;
    row[6] = not_here(im);
    row[7] = im->idea;
    return row;
}

/* Where another row than the first that takes a call is the default. */
static const char *const *choices_row(int i)
{
    static char transforms[200], alpha[40], types[40], keys[60], where[20];
    static const char *row[8];
    const preference *p = preference_at(i);
    if (!p) return NULL;
    transforms_text(p->transforms, transforms, sizeof transforms);
    types_text(p->types, types, sizeof types);
    snprintf(alpha, sizeof alpha, p->alpha > 0 ? "%.4g and above" : "any", p->alpha);
    snprintf(where, sizeof where, p->sm ? "%d.%d" : "any", p->sm / 10, p->sm % 10);
    snprintf(keys, sizeof keys, p->to == ANY ? "%lld and more" : "%lld to %lld", (long long)p->keys,
             (long long)p->to);
    row[0] = op_name(p->op);
    row[1] = p->row;
    row[2] = transforms;
    row[3] = alpha;
    row[4] = types;
    row[5] = where;
    row[6] = keys;
    row[7] = p->source;
    return row;
}

/* Those that attention can be handed. */
static const char *const *transforms_row(int i)
{
    static const char *row[2];
    const op *o = op_at(transform_at(i));
    if (!o) return NULL;
    row[0] = o->name;
    row[1] = o->title;
    return row;
}

/* --- the lists ------------------------------------------------------------------------------- */

enum { MOST_COLUMNS = 8 };

static const struct list {
    const char *name;
    row_at *row;
    int key; /* the column of the names */
    const char *head[MOST_COLUMNS + 1];
} lists[] = {
    {"ops", ops_row, 0, {"op", "title", "signature", "grad", "kind", "reads", "laws", "source"}},
    {"impls",
     impls_row,
     1,
     {"op", "impl", "types", "transforms", "sizes", "only", "not here", "idea"}},
    {"choices",
     choices_row,
     0,
     {"op", "impl", "transforms", "alpha", "types", "card", "keys", "source"}},
    {"methods",
     methods_row,
     0,
     {"method", "label", "op", "set", "colour", "dash", "mark", "shown"}},
    {"tasks", tasks_row, 0, {"task", "title"}},
    {"verbs", verbs_row, 0, {"verb", "key", "default", "bound", "help"}},
    {"columns", columns_row, 1, {"table", "column", "role", "unit", "meaning"}},
    {"selftests", selftests_row, 0, {"selftest", "label", "shows"}},
    {"switches", switches_row, 0, {"switch", "default", "values", "about"}},
    {"inputs", inputs_row, 0, {"input", "about"}},
    {"sequences", sequences_row, 0, {"input", "about"}},
    {"transforms", transforms_row, 0, {"transform", "title"}},
    {"laws", laws_row, 0, {"law", "of", "tolerance", "says"}},
    {"claims", claims_row, 0, {"claim", "tolerance", "theorem"}},
    {"baselines", baselines_row, 0, {"baseline", "label", "colour", "dash"}},
};
enum { LISTS = sizeof lists / sizeof *lists };

const char *list_cell(const char *list, int i, const char *head)
{
    for (int j = 0; j < LISTS; j++) {
        if (strcmp(lists[j].name, list) != 0) continue;
        const char *const *row = lists[j].row(i);
        for (int k = 0; row && lists[j].head[k]; k++)
            if (strcmp(lists[j].head[k], head) == 0) return row[k];
    }
    return NULL;
}

const char *list_name(const char *list, int i)
{
    if (strcmp(list, "lists") == 0) return i < LISTS ? lists[i].name : NULL;
    for (int j = 0; j < LISTS; j++) {
        if (strcmp(lists[j].name, list) != 0) continue;
        const char *const *row = lists[j].row(i);
        return row ? row[lists[j].key] : NULL;
    }
    return NULL;
}

/* --- printing -------------------------------------------------------------------------------- */

static void print_list(const struct list *l, int named)
{
    static tabular_column heads[MOST_COLUMNS];
    const char *const *row;
    int count = 0;
    for (; l->head[count]; count++) {
        int width = 0; /* of the longest, within reason */
        for (int i = 0; (row = l->row(i)); i++)
            if (strlen(row[count]) > (size_t)width) width = (int)strlen(row[count]);
        heads[count] = (tabular_column){l->head[count], "", 0, width < 40 ? width : 40};
    }
    tabular_begin(named ? l->name : NULL, heads, count);
    for (int i = 0; (row = l->row(i)); i++)
        tabular_row(row);
    tabular_end();
}

static void print_line_styles(void)
{
    int style = 1;
#define METHOD(name, label, op, colour, dash, mark, ...)                                           \
    printf("style_%s = %d; set linetype %d lc rgb '%s' lw 2 dt %s%s%s pt %d\n", #name, style,      \
           style, colour, *dash ? "(" : "", *dash ? dash : "solid", *dash ? ")" : "",              \
           MARK_##mark);                                                                           \
    printf("label_%s = '%s'\n", #name, label);                                                     \
    style++;
#include "methods.def"
#undef METHOD
}

int verb_list(const words *w)
{
    const char *format = word_text(w, "format");
    const int every = word_count(w, "ids") == LISTS, many = word_count(w, "ids") > 1;
    const int styles = strcmp(format, "gp") == 0;
    tabular_format(styles ? "tsv" : format);
    for (int i = 0; i < LISTS; i++) {
        if (!word_chooses(w, "ids", lists[i].name)) continue;
        if (styles && lists[i].row == methods_row)
            print_line_styles();
        else if (strcmp(format, "man") == 0 && lists[i].row == verbs_row)
            help_manual();
        else if (strcmp(format, "bash") == 0 && lists[i].row == verbs_row)
            help_completion();
        else
            print_list(&lists[i], many);
        if (every && strcmp(format, "json") != 0) printf("\n");
    }
    if (many) tabular_done();
    return EXIT_GOOD;
}
