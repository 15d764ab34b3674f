/* SPDX-License-Identifier: MIT
 *
 * output.h — where a file that is written will lie. Whoever writes asks here first, so that no
 * device, pipe or folder is replaced by a file, a symbolic link is followed and stays, and nothing
 * that is read is written over.
 */
#ifndef MOSAIC_OUTPUT_H
#define MOSAIC_OUTPUT_H

#include "spec.h"

enum { OUTPUT_PATH = 4096 };

/* The file that a path means: links followed, also to where nothing is yet. ERR_ARG for a path that
 * is too long; ERR_FILE where something else than a file stands, or a file that is protected. The
 * messages say that `what` cannot be created. */
status output_file(const char *path, const char *what, char file[OUTPUT_PATH]);

/* From now on output_file refuses what lies at this path, if anything does: it is read. */
void output_protect(const char *path);

/* 1 if two paths are one file: by device and inode, or, where there is none yet, by folder and
 * name. */
int output_same(const char *a, const char *b);

#endif
