/* SPDX-License-Identifier: MIT
 *
 * show.h — how lines of an experiment become tables, figures and claims.
 *
 *   table ID title="..." from=T keep=... rows=COL[+COL] cols=COL cell=COL [format=%.3f] [unit=TEXT]
 *       [folded=1: the page shows it on demand] [labels=plain: a gradient has the name of its
 *       operation]
 *       ID.tsv ID.md ID.tex; a cell is the mean, and mean ± sd (n = seeds) of several seeds.
 *       [levels=1: a baseline known in one column stands in every column]
 *       A proportion of one seed has its Wilson bounds behind it, a line below says of how many.
 *       cell=COL:sum,COL:max,... heads=TEXT,TEXT,... instead of cols: a column for each
 *   figure ID title="..." from=T keep=... x=COL y=COL series=COL[+COL]
 *       [style=lines|points|linespoints] [log=x|y|xy] [xlabel=...] [ylabel=...]
 *       [key=right|left|outside] [labels=plain]
 *       [floor=COL:max: a dashed line of the largest at each x, such as floor_ms:max]
 *       [levels=1: a series known at one x only, such as a baseline, is drawn across]
 *       [smooth=N: running means of N points, the points behind them]
 *       [split=Y: two panels, above and below Y]
 *       [hollow=KEEP hollow_note=TEXT: points whose value under this keep is not 0 are hollow]
 *       ID.tsv (one block a series: x, mean, sd; where there are intervals or hollow points also n,
 *       low, high, hollow), ID.gp, ID.svg, ID.png, ID.pdf
 *       Bars are mean ± sd of several seeds, else Wilson bounds or quartiles. A figure says what
 *       its bars are and which series lies under which
 *   story ID title="..." from=sample
 *       ID.md; what models said, their prompts in bold
 *   compare ID title="..." from=time|eval|stage a=KEEP b=KEEP [keep=...] [by=COL+COL]
 *       [margin=NUMBER]
 *       ID.tsv ID.md ID.tex, ID.svg ID.png ID.pdf: a with b point by point (compare/compare.h)
 *   claim "text" paper=NUMBER [at=PROFILE] from=T keep=... cell=COL [versus=KEEP] [tol=NUMBER]
 *       ours is the mean of cell; with versus= the difference to the mean under the other keep,
 *       and the claim is that it is negative (sign=-) or positive (sign=+); both of one origin.
 *       It agrees or differs if all of its interval does (claim.c), else it is undecided. At
 *       another profile than at= it is shown and not judged
 *   claim "text" each=theorem from=check keep=what:claim
 *       a row for each theorem of claims.def that was checked: its error, tolerance and verdict
 *
 * Every word of these lines is known before anything runs, or an error with a guess (known.c).
 * Everything is a function of the result files: showing twice writes the same bytes.
 */
#ifndef MOSAIC_SHOW_H
#define MOSAIC_SHOW_H

#include "buffer.h"
#include "evidence.h"

/* What verb show works on. */
typedef struct show {
    const paper *p;
    const char *out;    /* folder */
    const char *root;   /* of the repository, for plots/style.gp */
    struct page *page;  /* the report that grows, see report.c */
    const evidence *of; /* the experiment at hand: its files, and */
    char scale[400];    /* what its tables must confess: the profile, or where it was measured */
} show;

/* --- line.c: what every line needs ------------------------------------------------------------ */

/* The rows a line speaks of: those of its from= table. ERR_DATA if there is no such table. */
status line_source(const show *s, const line *l, const source **rows);
/* Their pivot (pivot.h). */
status line_pivot(const show *s, const line *l, const char *rows, const char *cols,
                  const char *value_of, const char *keep, pivot *p);
/* key_label (pivot.h) as the line wants it. */
void line_label(const line *l, const key *k, char *label, size_t size);
/* Write text to OUT/NAME.EXT through a temporary file. */
status show_write(const show *s, const char *name, const char *extension, const char *text);

/* --- lines ------------------------------------------------------------------------------------ */

status show_table(const show *s, const experiment *e, const line *l);
status show_figure(const show *s, const experiment *e, const line *l);
/* Draw OUT/ID.gp: ID.svg, ID.png and ID.pdf appear there, whole or not at all. ERR_FILE: no
 * gnuplot, or no room; ERR_DATA: it failed. */
status picture_draw(const show *s, const char *id);
status show_story(const show *s, const experiment *e, const line *l);
status show_compared(const show *s, const experiment *e, const line *l);

/* One line of the claims table. verdict: "agrees", "differs" (also from a number that is none),
 * "undecided", "another scale" (than the claim is about), "not run at this scale". */
typedef struct claim_result {
    const char *text;
    double paper, ours, tol; /* NaN: none                                    */
    double low, high;        /* of ours: an interval (pivot.h), or NaN       */
    int64_t n;               /* seeds that ours is the mean of               */
    const char *verdict;
    char command[300]; /* that makes ours */
} claim_result;
/* The interval of ours where there are several seeds; else *low and *high stay. */
status claim_interval(const show *s, const line *l, double *low, double *high);
/* Does all of the interval say so, none of it, or some? A number that is none differs. sign: "-",
 * "+" or "". */
const char *claim_verdict(const claim_result *c, const char *sign);
status show_claim(const show *s, const experiment *e, const line *l, claim_result *c);

/* --- table.c: the forms of a table ------------------------------------------------------------ */

/* They differ in what stands around cells. */
typedef struct form {
    const char *extension, *begin, *between, *end, *rule;
} form;
enum { TABLE_FORMS = 3 };
extern const form table_forms[TABLE_FORMS], page_form;
/* A cell: no cell ends early, no line breaks, no sign is a command. */
void form_text(buffer *b, const form *f, const char *text, int first);
/* Behind the head, with so many columns of numbers. */
void form_rule(buffer *b, const form *f, int numbers);
/* OUT/ID.EXT: title, rows, and what stands below ("": nothing). */
status form_write(const show *s, const form *f, const char *id, const char *title,
                  const char *under, const buffer *rows);

/* --- report.c --------------------------------------------------------------------------------- */

/* The report. some: only some experiments are shown; ERR_ARG if the page that is there is not of
 * this file and profile. */
typedef struct page page;
status page_open(page **pg, const show *s, int some);
/* An experiment is shown between these two, or what the page says of it is kept. */
void page_section(page *pg, const experiment *e);
void page_section_end(page *pg);
void page_keep(page *pg, const experiment *e);
void page_note(page *pg, const char *text);
void page_table(page *pg, const char *id, const char *title, const char *scale, const char *html,
                const char *under, int folded);
/* said: what must be said of it; "" is nothing. */
void page_figure(page *pg, const show *s, const char *id, const char *title, const char *said);
void page_story(page *pg, const char *id, const char *title, const char *scale, const char *html);
void page_claim(page *pg, const show *s, const claim_result *c);
/* A row of the provenance table for the files of an experiment. */
void page_provenance(page *pg, const experiment *e, const evidence *v);
/* Write OUT/index.html, which leads to OUT/FOLDER/index.html, and free; with keep = 0 only free. */
status page_close(page *pg, const show *s, int keep);

#endif
