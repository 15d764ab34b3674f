/* SPDX-License-Identifier: MIT
 *
 * tabular.h — rows on standard output: tab-separated for programs (the default of a pipe), aligned
 * for people (of a terminal), Markdown, CSV (RFC 4180), LaTeX (booktabs), or JSON, an array of
 * objects.
 */
#ifndef MOSAIC_TABULAR_H
#define MOSAIC_TABULAR_H

typedef struct tabular_column {
    const char *name, *unit; /* unit "" if it has none                        */
    int number;              /* its cells are numbers; "nan" is none: JSON null */
    int width;               /* of an aligned column, at least                  */
} tabular_column;

/* "tsv", "md", "csv", "tex", "json" or "text"; "": text on a terminal, else tsv. Until told, "". */
void tabular_format(const char *format);
/* The format is text: numbers may be short. */
int tabular_short(void);
/* A table begins: its head. name: in JSON tables with names are members of one object, which
 * tabular_done closes. NULL: there is one table, without a name. columns live until tabular_end. */
void tabular_begin(const char *name, const tabular_column *columns, int count);
/* Of the next table TSV has no head. */
void tabular_bare(void);
void tabular_row(const char *const *cells);
void tabular_end(void);  /* a table that did not begin is empty */
void tabular_done(void); /* after the last table with a name */

/* What signs of a text become in LaTeX; the last row has none. */
typedef struct escape {
    const char *sign, *becomes;
} escape;
extern const escape tex_escapes[];

#endif
