/* SPDX-License-Identifier: MIT
 *
 * gnuplot.h — a script through gnuplot, without the start-up files of its user, to the terminal or
 * into a picture that appears whole or not at all.
 */
#ifndef MOSAIC_GNUPLOT_H
#define MOSAIC_GNUPLOT_H

#include "buffer.h"
#include "output.h"

typedef struct picture {
    const char *out; /* "": the terminal */
    char file[OUTPUT_PATH], partial[OUTPUT_PATH + 40];
} picture;

/* Can the picture be made? A script sets its output to p->partial. ERR_ARG, ERR_FILE. */
status picture_begin(picture *p, const char *out);
/* If s is OK run the script and give the picture its name; else throw away what was begun.
 * ERR_FILE also if there is no gnuplot. */
status picture_end(picture *p, const char *script, status s);
/* A text in single quotes. */
void gnuplot_quote(buffer *b, const char *text);

/* A PDF says when it was made; ours are functions of their data. Other files stay as they are. */
void gnuplot_forget_date(const char *path);

#endif
