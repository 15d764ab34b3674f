/* SPDX-License-Identifier: MIT
 *
 * op.c — the tables of op.h, made from ops.def.
 */
#include "op.h"

#include <string.h>

#include "verb.h"

static const op ops[] = {
#define OP(name, title, signature, grad, laws, tol, source)                                        \
    {#name, title, signature, #grad, laws, tol, source, name##_ref},
#include "ops.def"
#undef OP
};

enum { OPS = sizeof ops / sizeof *ops, IMPLS_OF_ONE = 16 };

const op *op_at(int i)
{
    return i < OPS ? &ops[i] : NULL;
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

const impl *impl_find(const char *op_name, const char *name)
{
    const char *names[IMPLS_OF_ONE];
    char what[64];
    const impl *im;
    size_t count = 0;
    for (int i = 0; (im = impl_at(i)); i++) {
        if (strcmp(im->op, op_name) != 0) continue;
        if (strcmp(im->name, name) == 0) return im;
        if (count < IMPLS_OF_ONE) names[count++] = im->name;
    }
    snprintf(what, sizeof what, "impl of %s", op_name);
    fail_unknown(what, name, names, count, "one of `mosaic list impls`");
    return NULL;
}

const op *op_grad(const op *o)
{
    for (int i = 0; i < OPS; i++)
        if (strcmp(o->grad, ops[i].name) == 0) return &ops[i];
    return NULL;
}

const op *op_forward(const op *o)
{
    for (int i = 0; i < OPS; i++)
        if (strcmp(ops[i].grad, o->name) == 0) return &ops[i];
    return NULL;
}

int impl_chosen(const words *w, const impl *i)
{
    int kernel = i->where != &ref_backend;
    return word_chooses(w, "op", i->op) &&
           (word_chooses(w, "impl", i->name) || (kernel && word_chooses(w, "impl", "kernels")));
}

const char *impl_absent(const impl *i)
{
    if (!i->run) return "this build has no CUDA";
    if (i->where->devices() == 0) return "this machine has no device";
    return NULL;
}

op_fn *op_on(const backend *where, const char *op_name)
{
    const impl *im;
    for (int i = 0; (im = impl_at(i)); i++)
        if (im->where == where && strcmp(im->op, op_name) == 0) return im->run;
    return NULL;
}

char op_repeats(const op *o)
{
    signature s;
    if (strcmp(o->name, "dropout") == 0 || signature_parse(o->signature, &s) != OK) return 0;
    return shape_axis(s.out[0].shape);
}

int op_is_transform(const op *o)
{
    return o->laws != NO_LAW;
}

int op_is_transform_grad(const op *o)
{
    const op *forward = op_forward(o);
    return forward && op_is_transform(forward);
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
    int64_t count = 1;
    for (; *shape; shape++)
        count *= sizes[strchr(letters, *shape) - letters];
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
