/* SPDX-License-Identifier: MIT
 *
 * op.c — the tables of op.h, made from ops.def.
 */
#include "op.h"

#include <stdio.h>
#include <string.h>

enum { IMPLS_OF_ONE = 16 };

/* Keys that the positions of a sequence see in all: the pairs (t, j) with 0 <= j <= t - lag. */
static double pairs(const dims *d, const params *p)
{
    const double seen = (double)(d->T - p->lag) > 0 ? (double)(d->T - p->lag) : 0;
    return seen * (seen + 1) / 2;
}

#define OP(name, title, signature, grad, kind, reads, laws, tol, flop, source)                     \
    static double flop_##name(const dims *d, const params *p)                                      \
    {                                                                                              \
        (void)d;                                                                                   \
        (void)p;                                                                                   \
        return flop;                                                                               \
    }
#include "ops.def"
#undef OP

static const op ops[OPS] = {
#define OP(name, title, signature, grad, kind, reads, laws, tol, flop, source)                     \
    {OP_##name, #name, title, signature,   OP_##grad, kind,                                        \
     reads,     laws,  tol,   flop_##name, source,    name##_ref},
#include "ops.def"
#undef OP
};

const op *op_at(int id)
{
    return id >= 0 && id < OPS ? &ops[id] : NULL;
}

const op *op_find(const char *name)
{
    const char *names[OPS];
    for (int i = 0; i < OPS; i++) {
        if (strcmp(ops[i].name, name) == 0) return &ops[i];
        names[i] = ops[i].name;
    }
    fail_unknown("op", name, names, OPS, "one of `mosaic list ops`");
    return NULL;
}

const op *op_grad(const op *o)
{
    return op_at(o->grad);
}

const op *op_forward(const op *o)
{
    for (int i = 0; i < OPS; i++)
        if (ops[i].grad == o->id) return &ops[i];
    return NULL;
}

int op_is_transform(const op *o)
{
    return o->kind <= REGRESSION && !op_forward(o);
}

int op_is_transform_grad(const op *o)
{
    return o->kind <= REGRESSION && op_forward(o);
}

op_id transform_at(int i)
{
    for (int id = 0; id < OPS; id++)
        if (op_is_transform(&ops[id]) && op_grad(&ops[id]) && i-- == 0) return ops[id].id;
    return OP_none;
}

char op_repeats(const op *o)
{
    signature s;
    if (o->kind == NOISE || signature_parse(o->signature, &s) != OK) return 0;
    return shape_axis(s.out[0].shape);
}

/* ---- implementations ------------------------------------------------------------------------ */

const impl *impl_reference(op_id id)
{
    const impl *im;
    for (int i = 0; (im = impl_at(i)); i++)
        if (im->op == id && im->reference) return im;
    return NULL;
}

const impl *impl_find(op_id id, const char *name)
{
    const char *names[IMPLS_OF_ONE];
    char what[64];
    const impl *im;
    size_t count = 0;
    for (int i = 0; (im = impl_at(i)); i++) {
        if (im->op != id) continue;
        if (strcmp(im->name, name) == 0) return im;
        if (count < IMPLS_OF_ONE) names[count++] = im->name;
    }
    snprintf(what, sizeof what, "impl of %s", op_name(id));
    fail_unknown(what, name, names, count, "one of `mosaic list impls`");
    return NULL;
}

int impl_on_device(const impl *i)
{
    return i->where != &ref_backend;
}

int impl_chosen(const words *w, const impl *i)
{
    if (!word_chooses(w, "op", op_name(i->op))) return 0;
    if (word_chooses(w, "impl", i->name)) return 1;
    if (word_chooses(w, "impl", "kernels") && impl_on_device(i)) return 1;
    const backend *device = backend_at(1);
    const int here = device && device->devices() > 0;
    return word_chooses(w, "impl", "auto") && (here ? impl_on_device(i) : i->reference);
}

const char *impl_absent(const impl *i)
{
    if (!i->run) return "this build has no CUDA";
    if (i->where->devices() == 0) return "this machine has no device";
    return NULL;
}

static int reads_transform(const impl *i)
{
    return (op_at(i->op)->reads & P_TRANSFORM) != 0;
}

/* Are a transform and its gradient known where i runs? */
static int has_gradient_beside(const impl *i, op_id transform)
{
    const impl *im;
    int forward = 0, backward = 0;
    for (int at = 0; (im = impl_at(at)); at++) {
        if (im->where != i->where) continue;
        forward |= im->op == transform;
        backward |= op_at(transform) && im->op == op_at(transform)->grad;
    }
    return forward && backward;
}

const char *impl_declines(const impl *i, const args *a)
{
    static _Thread_local char why[200];
    const card c = card_present();
    const char *name = op_name(i->op), *only = limit_broken(i->limits, a, &c);
    if (!(i->types & TYPE_BIT(a->type)))
        snprintf(why, sizeof why, "%s/%s does not take %s", name, i->name, type_name(a->type));
    else if (reads_transform(i) && !has_gradient_beside(i, a->transform))
        snprintf(why, sizeof why, "%s/%s: %s has no kernel", name, i->name, op_name(a->transform));
    else if (!(i->transforms & UINT64_C(1) << a->transform))
        snprintf(why, sizeof why, "%s/%s does not take %s", name, i->name, op_name(a->transform));
    else if (i->width != ANY && a->d.D > i->width)
        snprintf(why, sizeof why, "%s/%s takes heads of width up to %lld, not %lld", name, i->name,
                 (long long)i->width, (long long)a->d.D);
    else if (i->length != ANY && a->d.T > i->length)
        snprintf(why, sizeof why, "%s/%s takes T up to %lld, not %lld", name, i->name,
                 (long long)i->length, (long long)a->d.T);
    else if (only)
        snprintf(why, sizeof why, "%s/%s takes %s", name, i->name, only);
    else
        return NULL;
    return why;
}

const impl *impl_default(op_id id, const backend *where, const args *a)
{
    const impl *im;
    const card c = card_present();
    const kernel_row *r = where == &ref_backend ? NULL : kernel_choice(id, a, &c);
    for (int at = 0; (im = impl_at(at)); at++) {
        if (im->op != id || im->where != where) continue;
        if (r ? strcmp(im->name, r->name) == 0 : !impl_declines(im, a)) return im;
    }
    return NULL;
}

int impl_passed_over(const words *w, const impl *i, const args *a)
{
    if (!word_chooses(w, "impl", "auto") || word_chooses(w, "impl", i->name)) return 0;
    return impl_default(i->op, i->where, a) != i;
}

int impls_combine(const impl *i, const impl *other)
{
    return i->where == other->where &&
           (strcmp(i->name, other->name) == 0 ||
            (strcmp(i->keeps, "nothing") != 0 && strcmp(i->keeps, other->keeps) == 0));
}

const impl *impl_beside(const impl *i, const op *o)
{
    const impl *im, *like = NULL;
    for (int at = 0; o && (im = impl_at(at)); at++) {
        if (im->op != o->id || !impls_combine(i, im)) continue;
        if (strcmp(im->name, i->name) == 0) return im;
        if (!like) like = im;
    }
    return like;
}

dtype impl_type(const words *w, const impl *i, int k)
{
    if (!impl_on_device(i)) return k == 0 ? F64 : I32;
    for (int t = F32; t < I32; t++)
        if (word_chooses(w, "type", type_name((dtype)t)) && k-- == 0) return (dtype)t;
    return I32;
}

/* ---- types and signatures ------------------------------------------------------------------- */

static const char *const type_names[] = {
    [F64] = "f64", [F32] = "f32", [BF16] = "bf16", [F16] = "f16", [I32] = "i32"};

const char *type_name(dtype t)
{
    return type_names[t];
}

dtype type_find(const char *name)
{
    int t = F32;
    while (t != I32 && strcmp(type_names[t], name) != 0)
        t++;
    return (dtype)t;
}

size_t host_size(const tensor *t)
{
    return t->storage == 'i' ? sizeof(int32_t) : sizeof(double);
}

dtype tensor_type(const tensor *t, dtype type)
{
    if (t->storage == 'i') return I32;
    return t->storage == 'f' && type != F64 ? F32 : type;
}

/* Read "name:SHAPE[:storage]" at *text up to a blank; 0 if malformed. */
static int read_tensor(const char **text, tensor *t)
{
    const char *s = *text;
    size_t name = strcspn(s, ": "), shape;
    *t = (tensor){.storage = 'w'};
    if (name == 0 || name >= sizeof t->name || s[name] != ':') return 0;
    memcpy(t->name, s, name);
    s += name + 1;
    shape = strspn(s, "BTHDCRNVMS1");
    if (shape == 0 || shape >= sizeof t->shape) return 0;
    memcpy(t->shape, s, shape);
    s += shape;
    if (*s == ':') {
        t->storage = s[1];
        if (t->storage != 'f' && t->storage != 'i') return 0;
        s += 2;
    }
    if (*s != ' ' && *s != '\0') return 0;
    *text = s + strspn(s, " ");
    return 1;
}

status signature_parse(const char *text, signature *s)
{
    const char *at = text;
    int output = 0;
    *s = (signature){0};
    while (*at) {
        if (strncmp(at, "-> ", 3) == 0 && !output) {
            output = 1;
            at += 3;
            continue;
        }
        int *count = output ? &s->outputs : &s->inputs;
        if (*count == MAX_TENSORS || !read_tensor(&at, (output ? s->out : s->in) + *count))
            return fail(ERR_ARG, "signature: \"%s\": expected name:SHAPE[:f|:i] at \"%s\"", text,
                        at);
        ++*count;
    }
    if (s->inputs == 0 || s->outputs == 0)
        return fail(ERR_ARG, "signature: \"%s\": expected inputs -> outputs", text);
    return OK;
}

static int find_tensor(const tensor *t, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(t[i].name, name) == 0) return i;
    return -1;
}

int signature_in(const signature *s, const char *name)
{
    return find_tensor(s->in, s->inputs, name);
}

int signature_out(const signature *s, const char *name)
{
    return find_tensor(s->out, s->outputs, name);
}

int64_t shape_count(const char *shape, const dims *d)
{
    static const char letters[] = "BTHDCRNVMS1";
    const int64_t sizes[] = {d->B, d->T, d->H, d->D, d->C, d->R, d->N, d->V, d->M, STATS, 1};
    const int64_t most = INT64_C(1) << 48;
    int64_t count = 1;
    for (; *shape; shape++) {
        const int64_t size = sizes[strchr(letters, *shape) - letters];
        if (size > 0 && count > most / size) return most;
        count *= size;
    }
    return count;
}

char shape_axis(const char *shape)
{
    return *shape == 'B' || *shape == 'R' || *shape == 'N' ? *shape : 0;
}

int64_t *dims_axis(dims *d, char letter)
{
    return letter == 'B' ? &d->B : letter == 'R' ? &d->R : &d->N;
}
