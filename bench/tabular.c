/* SPDX-License-Identifier: MIT
 *
 * tabular.c — see tabular.h. Nothing that a cell holds makes another row or column of it.
 */
#include "tabular.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef enum form {
    FORM_UNKNOWN,
    FORM_TSV,
    FORM_TEXT,
    FORM_MD,
    FORM_CSV,
    FORM_TEX,
    FORM_JSON
} form;

static struct state {
    form as;
    const tabular_column *columns;
    int count, rows, begun, tables, bare;
} now;

void tabular_format(const char *format)
{
    static const char *const names[] = {
        [FORM_TSV] = "tsv", [FORM_TEXT] = "text", [FORM_MD] = "md",
        [FORM_CSV] = "csv", [FORM_TEX] = "tex",   [FORM_JSON] = "json"};
    now.as = FORM_UNKNOWN;
    for (int i = FORM_TSV; i <= FORM_JSON; i++)
        if (strcmp(format, names[i]) == 0) now.as = (form)i;
}

static form chosen(void)
{
    if (now.as == FORM_UNKNOWN) now.as = isatty(STDOUT_FILENO) ? FORM_TEXT : FORM_TSV;
    return now.as;
}

int tabular_short(void)
{
    return chosen() == FORM_TEXT;
}

static void put_plain(const char *text, const char *escaped)
{
    for (const char *c = text; *c; c++) {
        if (strchr(escaped, *c)) putchar('\\');
        putchar((unsigned char)*c < ' ' ? ' ' : *c);
    }
}

static void put_csv(const char *text)
{
    if (!strpbrk(text, ",\"\n\r")) {
        printf("%s", text);
        return;
    }
    putchar('"');
    for (const char *c = text; *c; c++)
        printf(*c == '"' ? "\"\"" : "%c", *c);
    putchar('"');
}

const escape tex_escapes[] = {{"\\", "\\textbackslash{}"},
                              {"{", "\\{"},
                              {"}", "\\}"},
                              {"%", "\\%"},
                              {"&", "\\&"},
                              {"_", "\\_"},
                              {"#", "\\#"},
                              {"$", "\\$"},
                              {"~", "\\textasciitilde{}"},
                              {"^", "\\textasciicircum{}"},
                              {"|", "\\textbar{}"},
                              {"<", "\\textless{}"},
                              {">", "\\textgreater{}"},
                              {"α", "$\\alpha$"},
                              {"β", "$\\beta$"},
                              {"±", "$\\pm$"},
                              {"–", "--"},
                              {NULL, NULL}};
static void put_tex(const char *text)
{
    while (*text) {
        const escape *e = tex_escapes;
        while (e->sign && strncmp(text, e->sign, strlen(e->sign)) != 0)
            e++;
        if (e->sign)
            printf("%s", e->becomes);
        else
            putchar((unsigned char)*text < ' ' ? ' ' : *text);
        text += e->sign ? strlen(e->sign) : 1;
    }
}

static void put_json(const char *text)
{
    putchar('"');
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ')
            printf("\\u%04x", (unsigned)*c);
        else
            printf(*c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
    }
    putchar('"');
}

/* Columns on a screen: one of every character, however many bytes it has. */
static int columns_of(const char *text)
{
    int n = 0;
    for (const char *c = text; *c; c++)
        n += ((unsigned char)*c & 0xc0) != 0x80;
    return n;
}

static int width_of(const tabular_column *c)
{
    const int head = columns_of(c->name) + (*c->unit ? columns_of(c->unit) + 3 : 0);
    return c->width > head ? c->width : head;
}

static void put_aligned(const tabular_column *c, const char *text, int last)
{
    int pad = width_of(c) - columns_of(text);
    if (c->number) printf("%*s", pad > 0 ? pad : 0, "");
    put_plain(text, "");
    if (!c->number && !last) printf("%*s", pad > 0 ? pad : 0, "");
    printf(last ? "\n" : "  ");
}

static void put_object(const char *const *cells)
{
    printf("%s\n  {", now.rows ? "," : "");
    for (int i = 0; i < now.count; i++) {
        printf(i ? ", " : "");
        put_json(now.columns[i].name);
        printf(": ");
        if (!now.columns[i].number)
            put_json(cells[i]);
        else if (strspn(cells[i], "+-.0123456789eE") == strlen(cells[i]) && *cells[i])
            printf("%s", cells[i]);
        else
            printf("null"); /* JSON knows no infinity either */
    }
    printf("}");
}

static void put_cells(const char *const *cells)
{
    for (int i = 0; i < now.count; i++) {
        const int last = i + 1 == now.count;
        switch (chosen()) {
        case FORM_TEXT:
            put_aligned(&now.columns[i], cells[i], last);
            break;
        case FORM_MD:
            printf("| ");
            put_plain(cells[i], "|\\");
            printf(last ? " |\n" : " ");
            break;
        case FORM_TEX:
            put_tex(cells[i]);
            printf(last ? " \\\\\n" : " & ");
            break;
        case FORM_CSV:
            put_csv(cells[i]);
            printf(last ? "\r\n" : ",");
            break;
        default:
            put_plain(cells[i], "");
            printf(last ? "\n" : "\t");
        }
    }
}

/* Text to the left, numbers to the right. */
static void put_tex_begin(void)
{
    printf("\\begin{tabular}{");
    for (int i = 0; i < now.count; i++)
        putchar(now.columns[i].number ? 'r' : 'l');
    printf("}\n\\toprule\n");
}

static void put_heads(void)
{
    const int bare = now.bare && chosen() == FORM_TSV;
    now.bare = 0;
    if (bare) return;
    if (chosen() == FORM_TEX) put_tex_begin();
    for (int i = 0; i < now.count; i++) {
        char head[200];
        const tabular_column *c = &now.columns[i];
        const int unit = *c->unit && chosen() == FORM_TEXT;
        snprintf(head, sizeof head, unit ? "%s [%s]" : "%s", c->name, c->unit);
        const int last = i + 1 == now.count;
        if (chosen() == FORM_TEXT)
            put_aligned(c, head, last);
        else if (chosen() == FORM_MD)
            printf("| %s%s", head, last ? " |\n" : " ");
        else if (chosen() == FORM_CSV)
            printf("%s%s", head, last ? "\r\n" : ",");
        else if (chosen() == FORM_TEX)
            put_tex(head), printf(last ? " \\\\\n\\midrule\n" : " & ");
        else
            printf("%s%s", head, last ? "\n" : "\t");
    }
    for (int i = 0; chosen() == FORM_MD && i < now.count; i++)
        printf(i + 1 == now.count ? "| --- |\n" : "| --- ");
}

void tabular_begin(const char *name, const tabular_column *columns, int count)
{
    now.columns = columns;
    now.count = count;
    now.rows = 0;
    now.begun = 1;
    if (chosen() != FORM_JSON) {
        put_heads();
        return;
    }
    if (name) {
        printf(now.tables ? ",\n" : "{\n");
        put_json(name);
        printf(": ");
    }
    printf("[");
    now.tables++;
}

void tabular_bare(void)
{
    now.bare = 1;
}

void tabular_row(const char *const *cells)
{
    if (chosen() == FORM_JSON)
        put_object(cells);
    else
        put_cells(cells);
    now.rows++;
}

void tabular_end(void)
{
    if (chosen() == FORM_JSON && !now.begun) printf("[]\n");
    if (chosen() == FORM_TEX && now.begun) printf("\\bottomrule\n\\end{tabular}\n");
    if (chosen() == FORM_JSON && now.begun) printf(now.rows ? "\n]\n" : "]\n");
    now.begun = 0;
}

void tabular_done(void)
{
    if (chosen() == FORM_JSON) printf(now.tables ? "}\n" : "{}\n");
    now.tables = 0;
}
