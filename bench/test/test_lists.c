/* SPDX-License-Identifier: MIT
 *
 * test_lists.c — the lists as lists: rows that say nonsense are no rows, however well the rest
 * works. Each rule is shown by a row that breaks it.
 */
#include <stdio.h>
#include <string.h>

#include "mosaic.h"
#include "op/op.h"
#include "selftest.h"
#include "task.h"
#include "verb.h"

/* ---- operations -------------------------------------------------------------------------------
 */

static const tensor *tensor_of(const signature *s, const char *name)
{
    int i = signature_in(s, name);
    if (i >= 0) return &s->in[i];
    i = signature_out(s, name);
    return i >= 0 ? &s->out[i] : NULL;
}

/* Numbers of a row, a head, a position: always in float (spec.h). An axis twice is a matrix. */
static int is_small(const tensor *t)
{
    return t->shape[strspn(t->shape, "BTHRS1")] == '\0' && !strstr(t->shape, "TT");
}

static const char *tensors_fault(const signature *s)
{
    const int count = s->inputs + s->outputs;
    for (int i = 0; i < count; i++) {
        const tensor *t = i < s->inputs ? &s->in[i] : &s->out[i - s->inputs];
        if (tensor_of(s, t->name) != t) return "a name of two tensors";
        if (is_small(t) && t->storage == 'w')
            return "a number of a row, head or position without :f";
    }
    return NULL;
}

static const char *transform_fault(const op *o, const signature *s)
{
    const op *g = op_grad(o);
    const int measured = o->kind != REGRESSION;
    if (o->laws == NO_LAW) return "a transform without a law";
    if (strcmp(s->in[0].name, "c") != 0 || strcmp(s->in[0].shape, "RN") != 0 || s->inputs != 2)
        return "a transform that is not of c:RN and a number of each row";
    if (strcmp(s->out[0].name, "p") != 0 || strcmp(s->out[0].shape, "RN") != 0)
        return "a transform whose first output is not p:RN";
    if (!measured) return g ? "a regression with a gradient" : NULL;
    if (!g) return "a transform without a gradient";
    if (strcmp(s->in[1].name, "beta") != 0) return "a transform without beta";
    if (signature_out(s, "stat") != 1) return "a transform without stat";
    return NULL;
}

/* Of a gradient g: what it is given and makes belongs to its forward. */
static const char *gradient_fault(const op *o, const op *g, const signature *f, const signature *s)
{
    if (g->kind != o->kind) return "a gradient of another kind";
    if (g->reads != o->reads) return "a gradient that reads other parameters";
    if (*g->title || g->grad != OP_none) return "a gradient with a title or a gradient";
    for (int i = 0; i < s->inputs; i++) {
        const tensor *t = &s->in[i];
        const int upstream = *t->name == 'd' && signature_out(f, t->name + 1) >= 0;
        const tensor *same = tensor_of(f, upstream ? t->name + 1 : t->name);
        if (!same) return "a gradient given what its forward has not";
        if (strcmp(same->shape, t->shape) != 0) return "a gradient given another shape";
    }
    for (int i = 0; i < s->outputs; i++) {
        const tensor *t = &s->out[i];
        const int in = signature_in(f, t->name + 1);
        const int parameter = strcmp(t->name, "dalpha") == 0 && (g->reads & P_alpha);
        if (*t->name != 'd' || (in < 0 && !parameter)) return "a gradient to nothing";
        if (in >= 0 && strcmp(f->in[in].shape, t->shape) != 0) return "a gradient of another shape";
    }
    return NULL;
}

/* What is wrong with a row of ops.def, given its gradient; NULL if nothing is. */
static const char *op_fault(const op *o, const op *g)
{
    signature s, gs;
    const char *fault;
    if (signature_parse(o->signature, &s) != OK) return "a signature that does not parse";
    if (!(o->tol > 0 && o->tol <= 1e-3)) return "a tolerance that lets everything pass";
    if (!*o->source) return "no source";
    if ((fault = tensors_fault(&s))) return fault;
    if (op_forward(o)) return o->laws == NO_LAW ? NULL : "a gradient with laws of weights";
    if (!*o->title) return "no title";
    if (op_is_transform(o) && (fault = transform_fault(o, &s))) return fault;
    if (!op_is_transform(o) && o->laws != NO_LAW) return "laws of weights where there are none";
    if (!g) return NULL;
    if (signature_parse(g->signature, &gs) != OK) return "a gradient that does not parse";
    return gradient_fault(o, g, &s, &gs);
}

static void expect_nonsense(selftest *t, const op *o, const op *g, const char *text)
{
    const char *fault = op_fault(o, g);
    selftest_expect(t, fault != NULL, __FILE__, __LINE__, text);
}

static void doctored_ops(selftest *t)
{
    op o = *op_at(OP_softmax), g = *op_grad(&o);
    const op fine = o, gradient = g;
    o.laws = NO_LAW;
    expect_nonsense(t, &o, &g, "a transform without laws");
    o = fine, o.grad = OP_none;
    expect_nonsense(t, &o, NULL, "a transform without a gradient");
    o = fine, o.signature = "c:RN beta:R:f -> p:RN stat:RS";
    expect_nonsense(t, &o, &g, "stat in the working type");
    o = fine, o.signature = "c:RN beta:R -> p:RN stat:RS:f";
    expect_nonsense(t, &o, &g, "beta in the working type");
    o = fine, o.signature = "c:RN beta:R:f -> p:RN";
    expect_nonsense(t, &o, &g, "no stat");
    o = fine, o.signature = "c:RN beta:R:f -> c:RN stat:RS:f";
    expect_nonsense(t, &o, &g, "a name twice");
    o = fine, o.signature = "c:RN beta:R:f -> ";
    expect_nonsense(t, &o, &g, "no output");
    o = fine, o.tol = 0;
    expect_nonsense(t, &o, &g, "no tolerance");
    o = fine, o.kind = UNIFORM;
    expect_nonsense(t, &o, &g, "a gradient of another kind");
    o = fine, o.title = "";
    expect_nonsense(t, &o, &g, "no title");
    g = gradient, g.reads = P_k;
    expect_nonsense(t, &fine, &g, "a gradient that reads what its forward does not");
    g = gradient, g.signature = "beta:R:f p:RN stat:RS:f dp:RN -> dc:R:f dbeta:R:f";
    expect_nonsense(t, &fine, &g, "a gradient of another shape");
    g = gradient, g.signature = "beta:R:f p:RN stat:RS:f dy:RN -> dc:RN dbeta:R:f";
    expect_nonsense(t, &fine, &g, "a gradient given nothing of its forward");
    g = gradient, g.signature = "beta:R:f p:RN stat:RS:f dp:RN -> dc:RN dgamma:R:f";
    expect_nonsense(t, &fine, &g, "a gradient to nothing");
    o = *op_at(OP_linear), o.laws = SIMPLEX;
    expect_nonsense(t, &o, op_grad(&o), "laws of weights of a product");
    o = *op_at(OP_softmax_grad), o.laws = SIMPLEX;
    expect_nonsense(t, &o, NULL, "laws of weights of a gradient");
}

/* The values that a parameter is checked with are numbers. */
static void expect_checked(selftest *t, const char *name, const char *checked)
{
    char text[80], *rest = NULL;
    double x;
    selftest_expect(t, strlen(checked) < sizeof text, name, 0, checked);
    snprintf(text, sizeof text, "%s", checked);
    for (char *one = strtok_r(text, " ", &rest); one; one = strtok_r(NULL, " ", &rest))
        selftest_expect(t, parse_real(one, &x), name, 0, one);
}

void selftest_list_ops(selftest *t)
{
    const op *o;
#define PARAM(type, name, value, checked, about) expect_checked(t, #name, checked);
#include "params.def"
#undef PARAM
    doctored_ops(t);
    for (int i = 0; (o = op_at(i)); i++) {
        const char *fault = op_fault(o, op_grad(o));
        selftest_expect(t, !fault, o->name, i, fault ? fault : "");
        int forwards = 0;
        for (int j = 0; op_at(j); j++)
            forwards += op_at(j)->grad == o->id;
        selftest_expect(t, forwards <= 1, o->name, i, "the gradient of one operation");
    }
}

/* ---- implementations, methods ------------------------------------------------------------------
 */

static const char *impl_fault(const impl *im)
{
    static const char *const taken[] = {"auto", "kernels", "all"};
    const op *o = op_at(im->op);
    const int scored = (o->reads & P_TRANSFORM) != 0;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(im->name, taken[i]) == 0) return "a name that impl= reads in another way";
    if (im->types == 0) return "no storage";
    if (!im->reference && im->where != &ref_backend && (im->types & ~(unsigned)FLOATS))
        return "a kernel of other types than kernels store";
    if (im->transforms != ANY_TRANSFORM && !scored) return "transforms where there are none";
    if (im->transforms == 0) return "no transform";
    if (!*im->idea) return "no idea";
    return NULL;
}

static const char *method_fault(const method *m)
{
    const op *o = op_at(m->op);
    if (!op_is_transform(o) || !op_grad(o))
        return "a method of what is no transform with a gradient";
    if (!*m->label) return "no label";
    if (strlen(m->colour) != 7 || *m->colour != '#' ||
        strspn(m->colour + 1, "0123456789abcdefABCDEF") != 6)
        return "a colour that is not #rrggbb";
    if ((o->reads & P_alpha) && !(m->p.alpha > 1)) return "alpha is not above 1";
    if ((o->reads & P_k) && !(m->p.k >= 1)) return "k is not positive";
    return NULL;
}

void selftest_list_methods(selftest *t)
{
    const impl *im;
    method m;
    for (int i = 0; (im = impl_at(i)); i++) {
        const char *fault = impl_fault(im);
        selftest_expect(t, !fault, im->name, i, fault ? fault : "");
        selftest_expect(t, impl_find(im->op, im->name) == im, im->name, i, "one of this name");
    }
    for (int i = 0; method_name(i); i++) {
        EXPECT(method_find(method_name(i), &m) == OK);
        const char *fault = method_fault(&m);
        selftest_expect(t, !fault, m.name, i, fault ? fault : "");
        for (int j = 0; j < i; j++) {
            method other;
            EXPECT(method_find(method_name(j), &other) == OK);
            selftest_expect(t, strcmp(m.label, other.label) != 0, m.name, i,
                            "a label of one method");
            selftest_expect(t, strcmp(m.colour, other.colour) != 0, m.name, i, "a colour of one");
        }
    }
    EXPECT(method_find("softmax", &m) == OK && !method_fault(&m));
    m.op = OP_linear;
    EXPECT(method_fault(&m)); /* trains and reports scores, of nothing */
    m.op = OP_kernel_regression;
    EXPECT(method_fault(&m));
    m.op = OP_softmax_grad;
    EXPECT(method_fault(&m));
    m.op = OP_entmax, m.p.alpha = 1;
    EXPECT(method_fault(&m));
    m.op = OP_softmax, strcpy(m.colour, "black");
    EXPECT(method_fault(&m));
}

/* ---- names --------------------------------------------------------------------------------------
 */

/* The first name that a list has twice; NULL if there is none. */
static const char *name_twice(const char *(*name)(const char *list, int i), const char *list)
{
    const char *one, *other;
    for (int i = 0; (one = name(list, i)); i++)
        for (int j = i + 1; (other = name(list, j)); j++)
            if (strcmp(one, other) == 0) return one;
    return NULL;
}

static const char *doctored_names(const char *list, int i)
{
    static const char *const names[] = {"a", "b", "a"};
    (void)list;
    return i < 3 ? names[i] : NULL;
}

void selftest_list_names(selftest *t)
{
    /* those whose rows are known by one name; impls and columns are by two, verbs open groups */
    static const char *const lists[] = {"lists",      "ops",      "methods", "tasks",
                                        "selftests",  "switches", "inputs",  "sequences",
                                        "transforms", "claims",   "laws",    "baselines"};
    EXPECT(name_twice(doctored_names, ""));
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const char *twice = name_twice(list_name, lists[i]);
        EXPECT(list_name(lists[i], 0) != NULL);
        selftest_expect(t, !twice, lists[i], 0, twice ? twice : "");
    }
    for (int i = 0; task_row(i); i++)
        for (int j = 0; j < i; j++) {
            const struct task *a = task_row(i), *b = task_row(j);
            selftest_expect(t, a->id != b->id, a->name, a->id, b->name);
            selftest_expect(t, strcmp(a->title, b->title) != 0, a->name, 0, a->title);
        }
    for (int i = 0; task_row(i); i++) {
        const struct task *row = task_row(i), *found;
        EXPECT(row->id >= 1 && row->id <= 255 && *row->metrics && *row->source);
        EXPECT(row->id != 10); /* the stream of windows (babistories.c) */
        EXPECT(task_find(row->name, &found) == OK && found == row);
        selftest_expect(t, strcmp(list_name("tasks", i), row->name) == 0, row->name, i,
                        "its own row");
    }
}

/* ---- switches and keys
 * --------------------------------------------------------------------------- */

/* Every value that a switch lists is one, as is its default; what it does not list is none. */
static void expect_values(selftest *t, const char *name, const char *fallback, const char *values)
{
    mosaic_config c = config_default();
    char each[120], *rest = NULL;
    selftest_expect(t, config_set(&c, name, fallback) == OK, name, 0, fallback);
    selftest_expect(t, config_set(&c, name, "nonsense") != OK, name, 0, "nonsense");
    snprintf(each, sizeof each, "%s", values);
    if (strstr(values, "number") || strstr(values, "integer") || strstr(values, "rate") ||
        strstr(values, "method"))
        return; /* said in words */
    for (char *one = strtok_r(each, " ", &rest); one; one = strtok_r(NULL, " ", &rest)) {
        c = config_default();
        selftest_expect(t, config_set(&c, name, one) == OK, name, 0, one);
    }
}

/* A command line of help is one that its verb takes. */
static void expect_example(selftest *t, const char *verb, const char *example)
{
    char text[200], *word[20], *rest = NULL;
    int count = 0;
    words *w = NULL;
    snprintf(text, sizeof text, "%s", example);
    const char *first = strtok_r(text, " ", &rest);
    for (char *one; count < 20 && (one = strtok_r(NULL, " ", &rest));)
        word[count++] = one;
    selftest_expect(t, first && strcmp(first, verb) == 0, verb, 0, example);
    selftest_expect(t, words_parse(verb, count, word, &w) == OK, example, 0, last_error());
    words_free(w);
}

/* Every verb has one, and every heading of help has keys. */
static void expect_examples(selftest *t)
{
    static const struct row {
        char is;
        const char *text;
    } rows[] = {
#define VERB(name, about) {'v', #name},
#define KEY(name, kind, fallback, bound, help) {'k', #name},
#define GROUP(title) {'g', title},
#define EXAMPLE(text) {'e', text},
#include "verbs.def"
#undef VERB
#undef KEY
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    const char *verb = "";
    for (int i = 0; i < ROWS; i++) {
        const char next = i + 1 < ROWS ? rows[i + 1].is : 'v';
        if (rows[i].is == 'v') verb = rows[i].text;
        if (rows[i].is == 'v') selftest_expect(t, next == 'e', verb, 0, "an example");
        if (rows[i].is == 'g') selftest_expect(t, next == 'k', verb, 0, rows[i].text);
        if (rows[i].is == 'e') expect_example(t, verb, rows[i].text);
    }
}

void selftest_list_keys(selftest *t)
{
#define SWITCH(name, value, values, about) expect_values(t, #name, #value, values);
#include "switches.def"
#undef SWITCH
    static const char *const verbs[] = {
#define VERB(name, about) #name,
#define KEY(name, kind, fallback, bound, help)
#include "verbs.def"
#undef VERB
#undef KEY
    };
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        words *w;
        /* every default is a value that the key may have */
        selftest_expect(t, words_parse(verbs[i], 0, NULL, &w) == OK, verbs[i], 0, last_error());
        words_free(w);
    }
    static const struct key {
        const char *verb, *name, *help;
    } keys[] = {
#define VERB(name, about) {#name, NULL, about},
#define KEY(name, kind, fallback, bound, help) {NULL, #name, help},
#include "verbs.def"
#undef VERB
#undef KEY
    };
    enum { KEYS = sizeof keys / sizeof *keys };
    for (int i = 0; i < KEYS; i++) {
        EXPECT(*keys[i].help);
        for (int j = i + 1; keys[i].name && j < KEYS && !keys[j].verb; j++)
            selftest_expect(t, strcmp(keys[i].name, keys[j].name) != 0, keys[i].name, i,
                            "once a verb");
    }
    expect_examples(t);
}
