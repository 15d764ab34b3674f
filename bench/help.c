/* SPDX-License-Identifier: MIT
 *
 * help.c — what verbs.def says of the command line: as help, as a manual page, and as the
 * completion of bash.
 */
#include <string.h>

#include "verb.h"
#include "version.h"

typedef enum help_kind { HELP_VERB, HELP_KEY, HELP_GROUP, HELP_EXAMPLE } help_kind;

static const struct help_row {
    help_kind is;
    const char *name, *text; /* of a verb or key, and what it is */
    key_kind kind;
    const char *fallback, *bound;
} rows[] = {
#define VERB(name, about) {HELP_VERB, #name, about, TEXT, "", ""},
#define KEY(name, kind, fallback, bound, help) {HELP_KEY, #name, help, kind, fallback, bound},
#define GROUP(title) {HELP_GROUP, "", title, TEXT, "", ""},
#define EXAMPLE(text) {HELP_EXAMPLE, "", text, TEXT, "", ""},
#include "verbs.def"
#undef VERB
#undef KEY
};
enum { HELP_ROWS = sizeof rows / sizeof *rows };

static const char *const kinds[] = {
    [TEXT] = "word",   [PATH] = "path",     [MADE] = "path",   [INTO] = "folder",
    [TEXTS] = "words", [FILES] = "files",   [INT] = "integer", [INTS] = "integers",
    [REAL] = "number", [REALS] = "numbers", [FLAG] = "0|1"};

static const char codes[] = "0 good, 1 a check failed, 2 usage, 3 a file is missing, damaged or "
                            "cannot be written, 4 out of "
                            "memory or the device failed, 77 nothing to do here. "
                            "Of compare and gate: 0 nothing is worse, 1 no verdict (usage, files, "
                            "memory), 2 something is slower or worse, 3 something is ambiguous, 4 "
                            "an answer is wrong.";

const char *version_line(void)
{
    return "mosaic " MOSAIC_VERSION " (" MOSAIC_VERSION_COMMIT ")";
}

/* ---- help ------------------------------------------------------------------------------------ */

void help_program(void)
{
    printf("mosaic VERB key=value ...\n\nverbs\n");
    for (int i = 0; i < HELP_ROWS; i++)
        if (rows[i].is == HELP_VERB) printf("  %-9s %s\n", rows[i].name, rows[i].text);
    printf("\nA value is a list item[,item...]; an item is a word, a number (4/3 too), a range\n"
           "a..b, a..b:xF, a..b:+S, or all. `mosaic VERB --help` lists the keys of a verb, with "
           "examples;\n"
           "there, (of ops) is a name that `mosaic list ops` prints. `mosaic --version`, `mosaic "
           "info`.\n"
           "Standard output is TSV (of sample: text), on a terminal aligned, or format=; chatter "
           "goes to\n"
           "stderr. Interrupted, a verb keeps what is finished: its rows in out=, marked "
           "unfinished, and\n"
           "what the same line goes on from.\n"
           "Exit codes: %s\n",
           codes);
}

static void print_key(const struct help_row *k)
{
    printf("  %-13s %-9s %s", k->name, kinds[k->kind], k->text);
    if (*k->bound) printf(" (%s)", k->bound);
    if (*k->fallback) printf(" [%s]", k->fallback);
    printf("\n");
}

/* The first row of a verb; HELP_ROWS if there is none. */
static int find_verb(const char *verb)
{
    int i = 0;
    while (i < HELP_ROWS && !(rows[i].is == HELP_VERB && strcmp(rows[i].name, verb) == 0))
        i++;
    return i;
}

void help_verb(const char *verb)
{
    const int first = find_verb(verb);
    int examples = 0;
    if (first == HELP_ROWS) return;
    printf("mosaic %s — %s\n", verb, rows[first].text);
    for (int i = first + 1; i < HELP_ROWS && rows[i].is != HELP_VERB; i++) {
        if (rows[i].is == HELP_GROUP) printf("\n%s\n", rows[i].text);
        if (rows[i].is == HELP_KEY) print_key(&rows[i]);
    }
    for (int i = first + 1; i < HELP_ROWS && rows[i].is != HELP_VERB; i++)
        if (rows[i].is == HELP_EXAMPLE)
            printf("%s  mosaic %s\n", examples++ ? "" : "\nexamples\n", rows[i].text);
}

/* ---- the manual page ----------------------------------------------------------------------------
 */

/* Text of troff: a backslash, a minus and a leading dot mean something there. */
static void put_roff(const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '\\')
            printf("\\e");
        else if (*c == '-')
            printf("\\-");
        else if ((*c == '.' || *c == '\'') && c == text)
            printf("\\&%c", *c);
        else
            putchar(*c);
    }
}

static void roff(const char *before, const char *text, const char *after)
{
    printf("%s", before);
    put_roff(text);
    printf("%s", after);
}

static void roff_row(const struct help_row *r)
{
    if (r->is == HELP_VERB) {
        roff(".SH \"MOSAIC ", r->name, "\"\n");
        roff("", r->text, ".\n");
    } else if (r->is == HELP_GROUP) {
        roff(".SS \"", r->text, "\"\n");
    } else if (r->is == HELP_EXAMPLE) {
        roff(".PP\n.nf\n    mosaic ", r->text, "\n.fi\n");
    } else {
        roff(".TP\n.BR ", r->name, " = ");
        roff("\\fI", kinds[r->kind], "\\fR\n");
        roff("", r->text, "");
        if (*r->bound) roff(" (", r->bound, ")");
        if (*r->fallback) roff(" [", r->fallback, "]");
        printf("\n");
    }
}

void help_manual(void)
{
    printf(
        ".TH MOSAIC 1 \"\" \"mosaic %s\"\n.SH NAME\nmosaic \\- sparse attention as compact kernel "
        "regression\n"
        ".SH SYNOPSIS\n.B mosaic\n.I VERB key=value ...\n.SH DESCRIPTION\n"
        "A value is a list item[,item...]; an item is a word, a number (4/3 too), a range a..b, "
        "a..b:xF,\n"
        "a..b:+S, or all. Standard output is TSV, on a terminal aligned; chatter goes to stderr.\n"
        ".SH \"EXIT STATUS\"\n",
        MOSAIC_VERSION);
    roff("", codes, "\n");
    for (int i = 0; i < HELP_ROWS; i++)
        roff_row(&rows[i]);
}

/* ---- completion of bash
 * -------------------------------------------------------------------------- */

static void complete_values(const char *verb, const struct help_row *k)
{
    int given = 0;
    printf("    %s.%s) words=\"", verb, k->name);
    if (k->kind == FLAG) printf("0 1"), given = 1;
    char bound[80], *rest = NULL;
    snprintf(bound, sizeof bound, "%s", k->kind == TEXT || k->kind == TEXTS ? k->bound : "");
    for (char *one = strtok_r(bound, "|", &rest); one; one = strtok_r(NULL, "|", &rest)) {
        const char *name;
        if (strncmp(one, "of ", 3) != 0) printf("%s%s", given++ ? " " : "", one);
        for (int i = 0; strncmp(one, "of ", 3) == 0 && (name = list_name(one + 3, i)); i++)
            if (i == 0 || strcmp(list_name(one + 3, i - 1), name) != 0)
                printf("%s%s", given++ ? " " : "", name);
    }
    printf("\" ;;\n");
}

void help_completion(void)
{
    const char *verb = "";
    printf("# mosaic VERB key=value: verbs, keys and the words that a key may have\n"
           "_mosaic() {\n  local verb=${COMP_WORDS[1]} line=${COMP_LINE:0:COMP_POINT} words=\n"
           "  local word=${line##*[[:space:]]}\n  local key=${word%%%%=*} value=${word#*=}\n  "
           "COMPREPLY=()\n"
           "  if [ \"$COMP_CWORD\" -le 1 ]; then\n    COMPREPLY=($(compgen -W \"");
    for (int i = 0; i < HELP_ROWS; i++)
        if (rows[i].is == HELP_VERB) printf("%s ", rows[i].name);
    printf("--help --version\" -- \"$word\"))\n    return\n  fi\n  if [ \"$word\" = \"$key\" ]; "
           "then\n    case $verb in\n");
    for (int i = 0; i < HELP_ROWS; i++) {
        if (rows[i].is == HELP_VERB)
            printf("%s    %s) words=\"--help", i ? "\" ;;\n" : "", rows[i].name);
        if (rows[i].is == HELP_KEY) printf(" %s=", rows[i].name);
    }
    printf("\" ;;\n    esac\n    compopt -o nospace 2>/dev/null\n    COMPREPLY=($(compgen -W "
           "\"$words\" -- \"$word\"))\n    return\n  fi\n"
           "  case $verb.$key in\n");
    for (int i = 0; i < HELP_ROWS; i++) {
        if (rows[i].is == HELP_VERB) verb = rows[i].name;
        if (rows[i].is == HELP_KEY && (*rows[i].bound || rows[i].kind == FLAG))
            complete_values(verb, &rows[i]);
    }
    printf("  esac\n  local done=\n  case $value in *,*) done=${value%%,*}, ;; esac\n"
           "  if [ -n \"$words\" ]; then\n    COMPREPLY=($(compgen -P \"$done\" -W \"$words\" -- "
           "\"${value##*,}\"))\n"
           "  else\n    COMPREPLY=($(compgen -f -- \"$value\"))\n  fi\n}\ncomplete -F _mosaic "
           "mosaic\n");
}
