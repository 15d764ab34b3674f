/* SPDX-License-Identifier: MIT
 *
 * tell.c — verb check: what a failed row says to whoever has to find the fault, and what is said
 * when the checked code takes the process with it.
 */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "laws.h"

enum { MOST_TOLD = 40 };

/* A word for a shell: as it is, or in single quotes. */
static void add_quoted(buffer *b, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,+-%@";
    if (*text && text[strspn(text, plain)] == '\0') {
        buffer_add(b, "%s", text);
        return;
    }
    buffer_add(b, "'");
    for (; *text; text++)
        buffer_add(b, *text == '\'' ? "'\\''" : "%c", *text);
    buffer_add(b, "'");
}

/* The command that makes this row again; subject: of a claim. */
static void add_command(buffer *b, const check *k, const char *what, const char *subject)
{
    const check_case *c = &k->at;
    buffer_add(b, "mosaic check");
    if (k->golden) {
        buffer_add(b, " golden=");
        add_quoted(b, k->golden);
        if (k->model) buffer_add(b, " backend=%s type=%s", k->model, type_name(c->type));
        return;
    }
    buffer_add(b, " what=%s", what);
    if (strcmp(what, "claim") == 0) buffer_add(b, " claim=%s", subject);
    if (!c->op) return;
    buffer_add(b, " op=%s impl=%s", c->op->name, c->impl->name);
    if (c->type != F64) buffer_add(b, " type=%s", type_name(c->type));
    if (c->n) buffer_add(b, " n=%lld", (long long)c->n);
    if (c->rows) buffer_add(b, " rows=%lld", (long long)c->rows);
    if (c->op->reads & P_alpha) buffer_add(b, " alpha=%.17g", c->alpha);
    if (c->op->reads & P_k) buffer_add(b, " k=%lld", (long long)c->k);
    if (c->beta > 0) buffer_add(b, " beta=%.17g", c->beta);
    if (c->input) buffer_add(b, " input=%s", c->input);
    buffer_add(b, " seed=%llu", (unsigned long long)c->seed);
}

/* What the row claims, as a sentence. */
static const char *claimed(const char *what, const char *subject)
{
    if (strcmp(what, "law") == 0) return law_about(subject);
    if (strcmp(what, "claim") == 0) return claim_about(subject);
    if (strcmp(what, "match") == 0) return "it agrees with the reference";
    if (strcmp(what, "grad") == 0) return "it is the derivative, by central differences";
    return "it agrees with the recorded values";
}

static void add_spot(buffer *b, const spot *at)
{
    if (at->row >= 0) buffer_add(b, ", row %lld", (long long)at->row);
    if (at->entry >= 0) buffer_add(b, ", entry %lld", (long long)at->entry);
    if (!isnan(at->want) || !isnan(at->got))
        buffer_add(b, ", expected %.9g, got %.9g", at->want, at->got);
}

void check_note_fail(check *k, const check_row *row, const match *m)
{
    buffer *b = &k->fails;
    const char *about = claimed(row->what, m->tensor);
    if (k->failed > MOST_TOLD) return;
    buffer_add(b, "FAIL: %s %s of %s/%s", row->what, row->subject, row->op, row->impl);
    if (about) buffer_add(b, ": %s", about);
    buffer_add(b, ": error %.3g, at most %.3g", m->error, m->tol);
    if (m->support) buffer_add(b, ", %lld entries of another support", (long long)m->support);
    add_spot(b, &m->at);
    buffer_add(b, "; repeat: ");
    add_command(b, k, row->what, m->tensor);
    buffer_add(b, "\n");
}

void check_tell_fails(const check *k)
{
    fflush(stdout);
    fputs(buffer_text(&k->fails), stderr);
    if (buffer_failed(&k->fails)) fprintf(stderr, "mosaic check: no memory to tell what failed\n");
    if (k->failed > MOST_TOLD)
        fprintf(stderr, "and %lld more\n", (long long)(k->failed - MOST_TOLD));
}

/* ---- crashes --------------------------------------------------------------------------------- */

static char running[512]; /* the command of the case that runs */

static void write_text(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
}

static void crashed(int signal_number)
{
    write_text("mosaic check: crashed (");
    write_text(signal_number == SIGFPE ? "SIGFPE" : signal_number == SIGBUS ? "SIGBUS" : "SIGSEGV");
    write_text(")");
    if (*law_running) write_text(" in law "), write_text(law_running);
    if (*running) write_text("; repeat: "), write_text(running);
    write_text("\n");
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void check_catch_crashes(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        signal(fatal[i], crashed);
}

void check_running(const check *k, const char *what)
{
    buffer b = {0};
    if (what) add_command(&b, k, what, "");
    snprintf(running, sizeof running, "%s", buffer_text(&b));
    free(b.text);
}
