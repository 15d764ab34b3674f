/* SPDX-License-Identifier: MIT
 *
 * test_op.c — the lists are sound: signatures parse, gradients name tensors of their operation,
 * kernels implement operations that exist; problems have the sizes they promise.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check/check.h"
#include "op/call.h"
#include "op/inputs.h"
#include "selftest.h"
#include "verb.h"

/* "dX" for a tensor X of the signature? */
static int is_gradient_of(const char *name, const signature *s)
{
    return *name == 'd' && (signature_in(s, name + 1) >= 0 || signature_out(s, name + 1) >= 0);
}

void selftest_op_lists(selftest *t)
{
    const op *o;
    const impl *im;
    signature s, g;
    for (int i = 0; (o = op_at(i)); i++) {
        EXPECT(signature_parse(o->signature, &s) == OK);
        EXPECT(op_find(o->name) == o);
        EXPECT(o->tol > 0 && o->tol <= 1e-5);
        EXPECT(*o->source != '\0');
        EXPECT(op_grad(o) || o->grad == OP_none);
        if (!op_grad(o)) continue;
        EXPECT(op_forward(op_grad(o)) == o);
        EXPECT(signature_parse(op_grad(o)->signature, &g) == OK);
        for (int j = 0; j < g.inputs; j++)
            EXPECT(signature_in(&s, g.in[j].name) >= 0 || signature_out(&s, g.in[j].name) >= 0 ||
                   is_gradient_of(g.in[j].name, &s));
        for (int j = 0; j < g.outputs; j++)
            EXPECT(is_gradient_of(g.out[j].name, &s) || strcmp(g.out[j].name, "dalpha") == 0);
    }
    for (int i = 0; (im = impl_at(i)); i++) {
        EXPECT(op_at(im->op) != NULL);
        EXPECT(impl_find(im->op, im->name) == im);
        EXPECT(*im->idea != '\0');
    }
    char *text[] = {"op=linear,softmax", "impl=kernels"};
    words *w = NULL;
    EXPECT(words_parse("time", 2, text, &w) == OK);
    for (int i = 0; w && (im = impl_at(i)); i++) {
        const int named = im->op == OP_linear || im->op == OP_softmax;
        EXPECT(impl_chosen(w, im) == (named && im->where != &ref_backend));
    }
    words_free(w);
    EXPECT(op_find("softmx") == NULL && strstr(last_error(), "softmax") != NULL);
    EXPECT(impl_find(OP_softmax, "reff") == NULL && strstr(last_error(), "ref") != NULL);
    params p = params_default();
    call *c = NULL;
    EXPECT(call_create(&c, op_find("softmax"), impl_reference(OP_softmax), &(dims){.R = 1, .N = 2},
                       &p, F64) == OK);
    EXPECT(inputs_fill(c, "gaus", 1, 7) == ERR_ARG && strstr(last_error(), "gauss") != NULL);
    call_destroy(c);
}

/* Attention of T = 512 with heads of width 64. */
static args attention_call(dtype type, op_id transform)
{
    args a = {.type = type, .transform = transform, .p = params_default()};
    a.d = (dims){.B = 1, .T = 512, .H = 2, .D = 64};
    return a;
}

/* Why `i` would not run it; "" if it would. */
static const char *reason(const impl *i, dtype type, op_id transform)
{
    const args a = attention_call(type, transform);
    const char *why = impl_declines(i, &a);
    return why ? why : "";
}

void selftest_takes(selftest *t)
{
    const impl any = {.op = OP_attention,
                      .name = "x",
                      .where = &ref_backend,
                      .types = FLOATS,
                      .transforms = ANY_TRANSFORM};
    impl some = any;
    EXPECT(*reason(&any, F32, OP_softmax) == '\0' && *reason(&any, F16, OP_relumax) == '\0');
    EXPECT(strstr(reason(&any, F64, OP_softmax), "attention/x does not take f64"));
    EXPECT(strstr(reason(&any, F32, OP_kernel_regression), "has no kernel"));
    some.types = HALVES;
    some.transforms = TRANSFORM_BIT(softmax) | TRANSFORM_BIT(normrelu);
    EXPECT(strstr(reason(&some, F32, OP_softmax), "does not take f32"));
    EXPECT(*reason(&some, BF16, OP_normrelu) == '\0');
    EXPECT(strstr(reason(&some, BF16, OP_entmax), "does not take entmax"));
    some = any;
    some.width = 64;
    some.length = 512;
    EXPECT(*reason(&some, F32, OP_softmax) == '\0');
    some.length = 511;
    EXPECT(strstr(reason(&some, F32, OP_softmax), "T up to 511, not 512"));
    some.width = 32;
    EXPECT(strstr(reason(&some, F32, OP_softmax), "width up to 32, not 64"));
    some = any;
    some.limits = ONLY(order);
    EXPECT(*reason(&some, F32, OP_entmax) == '\0');
    args order = attention_call(F32, OP_entmax);
    order.p.alpha = 3;
    EXPECT(strstr(impl_declines(&some, &order), "attention/x takes alpha up to 2"));

    /* of linear's two rows on the host the first is the automatic choice */
    char *words_of[] = {"op=linear", "impl=auto"};
    const args a = {.d = {.R = 1, .N = 1, .C = 1}, .type = F64};
    const impl *im;
    words *w = NULL;
    int first = 1;
    EXPECT(words_parse("time", 2, words_of, &w) == OK);
    for (int i = 0; w && (im = impl_at(i)); i++) {
        if (im->op != OP_linear || impl_on_device(im)) continue;
        EXPECT(impl_passed_over(w, im, &a) == !first);
        EXPECT(im->reference == first);
        first = 0;
    }
    EXPECT(!first);
    words_free(w);
}

/* What a limit says of a call on a card; "" if it is kept. */
static const char *unmet(unsigned limit, const args *a, int sm)
{
    const card c = {.sm = sm, .shared = sm == 86 ? 99 << 10 : 163 << 10};
    const char *takes = limit_broken(limit, a, &c);
    return takes ? takes : "";
}

void selftest_limits(selftest *t)
{
    static const double scales[] = {0, -1, NAN, INFINITY};
    args a = attention_call(BF16, OP_entmax);
    a.p.alpha = 2;
    EXPECT(*unmet(OF_LISTS | OF_TILE, &a, 90) == '\0');
    EXPECT(strstr(unmet(OF_LISTS, &a, 80), "9.0") && strstr(unmet(OF_LISTS, &a, 100), "9.0"));
    EXPECT(strstr(unmet(OF_LISTS, NULL, 80), "9.0") && *unmet(OF_LISTS, NULL, 90) == '\0');
    a.p.alpha = 2.5;
    EXPECT(strstr(unmet(OF_TILE, &a, 90), "alpha up to 2"));
    a.transform = OP_sparsemax; /* which has no alpha */
    EXPECT(*unmet(OF_TILE, &a, 90) == '\0');
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        a.p.scale = scales[i];
        EXPECT(strstr(unmet(OF_TILE, &a, 90), "scale"));
    }
    a = attention_call(BF16, OP_softmax);
    EXPECT(*unmet(OF_TILE, &a, 80) == '\0' && *unmet(OF_TILE, &a, 86) == '\0');
    a.d.D = 128;
    EXPECT(*unmet(OF_TILE, &a, 80) == '\0' && strstr(unmet(OF_TILE, &a, 86), "shared memory"));
    a.type = F32;
    EXPECT(strstr(unmet(OF_TILE, &a, 80), "shared memory"));
    a.d.D = 64;
    EXPECT(*unmet(OF_TILE, &a, 80) == '\0' && strstr(unmet(OF_TILE, &a, 86), "shared memory"));
    a = attention_call(BF16, OP_normrelu);
    a.p.empty = EMPTY_ARGMAX;
    EXPECT(strstr(unmet(OF_TILE, &a, 90), "empty rows"));
    a.p.empty = EMPTY_ZERO, a.p.form = NORMRELU_AFFINE, a.p.slope = -1;
    EXPECT(strstr(unmet(OF_TILE, &a, 90), "slope"));
    a = attention_call(BF16, OP_topk_uniform);
    a.p.k = 33;
    EXPECT(strstr(unmet(OF_LISTS, &a, 90), "k up to 32"));
    a.p.k = 32, a.d.D = 65;
    EXPECT(strstr(unmet(OF_LISTS, &a, 90), "16, 32, 64 or 128"));
    a.d.D = 64, a.d.T = (1 << 19) + 1;
    EXPECT(strstr(unmet(OF_LISTS, &a, 90), "2^19"));
    a.d.T = 1 << 19, a.d.B = 1 << 12;
    EXPECT(strstr(unmet(OF_LISTS, &a, 90), "2^31"));
}

/* The row that a call of attention gets; "" if none, or if the gradient does not read what it
 * keeps. */
static const char *attention_row(const args *a, const card *c)
{
    const kernel_row *f = kernel_choice(OP_attention, a, c);
    const kernel_row *g = kernel_choice(OP_attention_grad, a, c);
    return f && g && strcmp(f->keeps, g->keeps) == 0 ? f->name : "";
}

/* A problem of some length, width, type and transform, on a card, as the digits of v say. */
static args some_problem(int v)
{
    static const dtype types[] = {F32, BF16, F16};
    static const int64_t widths[] = {1, 64, 200};
    args a = attention_call(types[v % 3], transform_at(v / 99));
    a.d.D = widths[v / 3 % 3];
    a.d.T = a.d.M = INT64_C(1) << 2 * (v / 9 % 11);
    return a;
}

void selftest_choice(selftest *t)
{
    static const card cards[] = {{.sm = 90, .shared = 232448}, {.sm = 80, .shared = 166912}};
    const kernel_row *r;
    const preference *p;
    args a = attention_call(BF16, OP_entmax);
    a.p.alpha = 1.5;
    a.d.T = 1 << 15;
    EXPECT(strcmp(attention_row(&a, &cards[0]), "gather") == 0);
    EXPECT(strcmp(attention_row(&a, &cards[1]), "tile") == 0);
    a.type = F32;
    EXPECT(strcmp(attention_row(&a, &cards[0]), "tile") == 0);
    a.p.alpha = 3;
    EXPECT(strcmp(attention_row(&a, &cards[0]), "dense") == 0);
    a.type = BF16, a.p.alpha = 1.5, a.d.D = 65;
    EXPECT(strcmp(attention_row(&a, &cards[0]), "tile") == 0);
    a.d.D = 129;
    EXPECT(strcmp(attention_row(&a, &cards[0]), "dense") == 0);
    a.type = F64;
    EXPECT(*attention_row(&a, &cards[0]) == '\0');

    for (int c = 0; c < 2; c++)
        for (int v = 0; transform_at(v / 99) != OP_none; v++) {
            a = some_problem(v);
            EXPECT(*attention_row(&a, &cards[c]));
            EXPECT(kernel_choice(OP_persistent_memory, &a, &cards[c]));
            EXPECT(kernel_choice(OP_persistent_memory_grad, &a, &cards[c]));
            EXPECT(kernel_choice(transform_at(v / 99), &a, &cards[c]));
        }

    for (int i = 0; (p = preference_at(i)); i++) {
        int at = 0;
        while ((r = kernel_row_at(at)) && !(r->op == p->op && strcmp(r->name, p->row) == 0))
            at++;
        EXPECT(r && *p->source && p->keys >= 0 && (p->to == ANY || p->to >= p->keys));
        EXPECT(r && (p->transforms & ~r->transforms) == 0 && (p->types & ~r->types) == 0);
    }
}

void selftest_signature(selftest *t)
{
    static const char *const wrong[] = {"",
                                        "c:RN",
                                        "-> p:RN",
                                        "c:RN ->",
                                        "c -> p:RN",
                                        "c:RX -> p:RN",
                                        "c:RN:d -> p:RN",
                                        ":RN -> p:RN",
                                        "c:RN -> p:RN -> q:RN",
                                        "c:RN->p:RN"};
    const dims d = {.B = 2, .T = 3, .H = 5, .D = 7, .C = 11, .R = 13, .N = 17, .V = 19, .M = 23};
    signature s;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        EXPECT(signature_parse(wrong[i], &s) == ERR_ARG);
    EXPECT(signature_parse("token:R:i w:VC -> x:RC n:1:f", &s) == OK);
    EXPECT(s.inputs == 2 && s.outputs == 2);
    EXPECT(s.in[0].storage == 'i' && s.in[1].storage == 'w' && s.out[1].storage == 'f');
    EXPECT(signature_in(&s, "w") == 1 && signature_in(&s, "x") == -1 &&
           signature_out(&s, "x") == 0);
    EXPECT(shape_count("RN", &d) == 13 * 17);
    EXPECT(shape_count("BTHD", &d) == 2 * 3 * 5 * 7);
    EXPECT(shape_count("RS", &d) == 13 * STATS);
    EXPECT(shape_count("VC", &d) == 19 * 11 && shape_count("HMD", &d) == 5 * 23 * 7);
    EXPECT(shape_count("1", &d) == 1);
}

enum { PARTS = 40 }; /* with two heads each: more than share scratch */

/* Whether the parts of an answer along an axis are the answers of the parts alone, bit for bit. */
static int parts_are_alone(const call *all, call *one, char axis)
{
    int same = 1;
    for (int64_t part = 0; part < PARTS; part++) {
        for (int i = 0; i < one->sig.inputs; i++) {
            const size_t bytes = (size_t)one->in_count[i] * host_size(&one->sig.in[i]);
            const int64_t from = all->in_count[i] == one->in_count[i] ? 0 : part;
            memcpy(one->in[i], (char *)all->in[i] + (size_t)from * bytes, bytes);
        }
        if (call_once(one) != OK) return -1;
        for (int i = 0; i < one->sig.outputs; i++) {
            const double *of_all = (double *)all->out[i] + part * one->out_count[i];
            const size_t bytes = (size_t)one->out_count[i] * sizeof *of_all;
            if (*one->sig.out[i].shape == axis) same &= memcmp(of_all, one->out[i], bytes) == 0;
        }
    }
    return same;
}

/* Every value is written, and the same whatever stood in the scratch: NaN, or large numbers. */
static void expect_clean(selftest *t, call *c)
{
    double *first[MAX_TENSORS] = {0};
    int lost = 0, differs = 0;
    for (int i = 0; i < c->sig.outputs; i++) {
        const size_t bytes = (size_t)c->out_count[i] * sizeof **first;
        if ((first[i] = malloc(bytes))) memcpy(first[i], c->out[i], bytes);
        for (int64_t j = 0; first[i] && j < c->out_count[i]; j++)
            lost += isnan(first[i][j]);
    }
    if (c->a.work) memset(c->a.work, 0x7e, c->work_bytes);
    const args a = call_args(c);
    EXPECT(c->impl->run(&a) == OK && call_get(c) == OK);
    for (int i = 0; i < c->sig.outputs; i++) {
        const size_t bytes = (size_t)c->out_count[i] * sizeof **first;
        differs += !first[i] || memcmp(first[i], c->out[i], bytes) != 0;
        free(first[i]);
    }
    selftest_expect(t, lost == 0, c->op->name, __LINE__, "no NaN");
    selftest_expect(t, differs == 0, c->op->name, __LINE__, "the same from any scratch");
}

/* One operation with one set of parameters: of those whose answer has an axis, only the masks of
 * dropout are not the same for a part alone. */
static void expect_parts_alone(selftest *t, const op *o, const variant *v, char axis)
{
    dims d = {.B = 1, .T = 66, .H = 2, .D = 4, .C = 5, .R = 6, .N = 40, .V = 7, .M = 3};
    const impl *ref = impl_reference(o->id);
    call *one = NULL, *all = NULL;
    EXPECT(call_create(&one, o, ref, &d, &v->p, F64) == OK);
    if (axis) *dims_axis(&d, axis) *= PARTS;
    EXPECT(call_create(&all, o, ref, &d, &v->p, F64) == OK);
    if (one && all) {
        one->a.transform = all->a.transform = v->transform;
        EXPECT(inputs_fill(all, "gauss", 1, 7) == OK && call_once(all) == OK);
        const int same = axis ? parts_are_alone(all, one, axis) : 0;
        selftest_expect(t, !axis || same == (o->kind != NOISE), o->name, __LINE__, v->label);
        EXPECT(op_repeats(o) == (same ? axis : 0));
        expect_clean(t, all);
    }
    call_destroy(one);
    call_destroy(all);
}

void selftest_repeats(selftest *t)
{
    const op *o;
    signature s;
    variant v;
    for (int i = 0; (o = op_at(i)); i++) {
        EXPECT(signature_parse(o->signature, &s) == OK);
        for (int k = 0; check_variant(o, k, 1.5, 3, &v); k++) {
            if (o->kind != NOISE) v.p.rate = 0; /* masks are drawn by position */
            expect_parts_alone(t, o, &v, shape_axis(s.out[0].shape));
        }
    }
}

/* Bytes of every tensor once; the inner axis is n and the largest tensor about `elements`. */
void selftest_call_sizes(selftest *t)
{
    const params p = params_default();
    const op *o;
    for (int i = 0; (o = op_at(i)); i++) {
        const dims d = call_dims(o, 48, 100000);
        int64_t largest = 0;
        call *c;
        EXPECT(call_create(&c, o, impl_reference(o->id), &d, &p, F32) == OK);
        if (!c) return;
        for (int j = 0; j < c->sig.inputs; j++)
            if (c->in_count[j] > largest) largest = c->in_count[j];
        for (int j = 0; j < c->sig.outputs; j++)
            if (c->out_count[j] > largest) largest = c->out_count[j];
        EXPECT(largest > 50000 && largest <= 140000);
        EXPECT(c->a.type == F64);
        call_destroy(c);
    }
    const dims d = {1, 1, 1, 1, 1, 10, 20, 1, 1};
    call *c;
    EXPECT(call_create(&c, op_find("softmax"), impl_reference(OP_softmax), &d, &p, F32) == OK);
    EXPECT_NEAR(call_bytes(c), 8.0 * (200 + 10 + 200 + 40), 0);
    EXPECT(inputs_fill(c, "masked", 0, 7) == OK && c->use_live);
    EXPECT_NEAR(call_bytes(c), 8.0 * (200 + 10 + 200 + 40) + 4 * 10, 0);
    call_destroy(c);
}
