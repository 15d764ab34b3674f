/* SPDX-License-Identifier: MIT
 *
 * list.c — verb list: the tables of the project, as TSV, Markdown, or gnuplot line styles.
 */
#include <stdlib.h>
#include <string.h>

#include "store/results.h"
#include "verb.h"

static const char *format = "tsv";

static void print_cells(const char *const *cells, int count)
{
    int md = strcmp(format, "md") == 0;
    for (int i = 0; i < count; i++)
        printf(md ? "| %s " : i ? "\t%s" : "%s", cells[i]);
    printf(md ? "|\n" : "\n");
}

static void print_head(const char *const *cells, int count)
{
    print_cells(cells, count);
    if (strcmp(format, "md") != 0) return;
    for (int i = 0; i < count; i++)
        printf("| --- ");
    printf("|\n");
}

#define HEAD(...)                                                                                  \
    do {                                                                                           \
        const char *const cells_[] = {__VA_ARGS__};                                                \
        print_head(cells_, sizeof cells_ / sizeof *cells_);                                        \
    } while (0)
#define LINE(...)                                                                                  \
    do {                                                                                           \
        const char *const cells_[] = {__VA_ARGS__};                                                \
        print_cells(cells_, sizeof cells_ / sizeof *cells_);                                       \
    } while (0)

static void list_ops(void)
{
    HEAD("op", "title", "signature", "grad", "laws", "source");
#define OP(name, title, signature, grad, laws, tol, source)                                        \
    LINE(#name, title, signature, #grad, #laws, source);
#include "ops.def"
#undef OP
}

static void list_impls(void)
{
    HEAD("op", "impl", "idea");
#define OP(name, title, signature, grad, laws, tol, source)                                        \
    LINE(#name, "ref", "the definition, in double");
#include "ops.def"
#undef OP
#define KERNEL(op, name, idea) LINE(#op, #name, idea);
#include "kernels.def"
#undef KERNEL
}

static void list_methods(void)
{
    if (strcmp(format, "gp") == 0) {
        int style = 1;
#define METHOD(name, label, op, alpha, k, power, form, colour)                                     \
    printf("style_%s = %d; set linetype %d lc rgb '%s' lw 2 pt %d\n", #name, style, style, colour, \
           style);                                                                                 \
    printf("label_%s = '%s'\n", #name, label);                                                     \
    style++;
#include "methods.def"
#undef METHOD
        return;
    }
    HEAD("method", "label", "op", "alpha", "k", "colour");
#define METHOD(name, label, op, alpha, k, power, form, colour)                                     \
    LINE(#name, label, #op, #alpha, #k, colour);
#include "methods.def"
#undef METHOD
}

static void list_tasks(void)
{
    HEAD("task", "title");
#define TASK(name, file, title) LINE(#name, title);
#include "tasks.def"
#undef TASK
}

static void list_verbs(void)
{
    HEAD("verb", "key", "default", "bound", "help");
#define VERB(name, about) LINE(#name, "", "", "", about);
#define KEY(name, kind, fallback, bound, help) LINE("", #name, fallback, bound, help);
#include "verbs.def"
#undef VERB
#undef KEY
}

static void list_columns(void)
{
    HEAD("table", "column", "unit", "meaning");
    for (int t = 0; t < TABLES; t++) {
        int count;
        const column *c = table_columns((table)t, &count);
        for (int i = 0; i < count; i++)
            LINE(table_name((table)t), c[i].name, c[i].unit, c[i].meaning);
    }
}

static void list_selftests(void)
{
    HEAD("selftest", "label", "shows");
#define SELFTEST(name, label, about) LINE(#name, #label, about);
#include "test/selftests.def"
#undef SELFTEST
}

static void list_inputs(void)
{
    HEAD("input", "about");
#define INPUT(name, about) LINE(#name, about);
#include "op/inputs.def"
#undef INPUT
}

static void list_claims(void)
{
    HEAD("claim", "tolerance", "theorem");
#define CLAIM(name, tol, about) LINE(#name, #tol, about);
#include "check/claims.def"
#undef CLAIM
}

static void list_switches(void)
{
    HEAD("switch", "default", "values", "about");
#define SWITCH(name, value, values, about) LINE(#name, #value, values, about);
#include "switches.def"
#undef SWITCH
}

static const struct listing {
    const char *name;
    void (*print)(void);
} listings[] = {
    {"ops", list_ops},
    {"impls", list_impls},
    {"methods", list_methods},
    {"tasks", list_tasks},
    {"verbs", list_verbs},
    {"columns", list_columns},
    {"selftests", list_selftests},
    {"switches", list_switches},
    {"inputs", list_inputs},
    {"claims", list_claims},
};
enum { LISTINGS = sizeof listings / sizeof *listings };

int verb_list(const words *w)
{
    const char *names[LISTINGS];
    int all = strcmp(word_text(w, "ids"), "all") == 0;
    for (int i = 0; i < LISTINGS; i++)
        names[i] = listings[i].name;
    format = word_text(w, "format");
    if (strcmp(format, "tsv") != 0 && strcmp(format, "md") != 0 && strcmp(format, "gp") != 0)
        return usage_error("list: format=%s: expected tsv, md or gp", format);
    for (int64_t i = 0; !all && i < word_count(w, "ids"); i++) {
        const char *id = word_text_at(w, "ids", i);
        int found = 0;
        for (int j = 0; j < LISTINGS; j++)
            found |= strcmp(id, names[j]) == 0;
        if (found) continue;
        return status_exit(
            fail_unknown("list: no table", id, names, LISTINGS, "a table of `mosaic list --help`"));
    }
    for (int j = 0; j < LISTINGS; j++) {
        int wanted = all;
        for (int64_t i = 0; i < word_count(w, "ids"); i++)
            wanted |= strcmp(word_text_at(w, "ids", i), names[j]) == 0;
        if (wanted) listings[j].print();
        if (wanted && all) printf("\n");
    }
    return EXIT_GOOD;
}
