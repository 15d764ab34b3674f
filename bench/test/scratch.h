/* SPDX-License-Identifier: MIT
 *
 * scratch.h — folders for the files of a test. They lie under TMPDIR (or /tmp) in one folder whose
 * name no other process has, and are removed with all they hold when the test ends, whatever came
 * of it. Paths belong to the test and are good until it ends; where none can be made the test has
 * failed, and the path names nothing.
 */
#ifndef MOSAIC_SCRATCH_H
#define MOSAIC_SCRATCH_H

#include <stddef.h>

#include "selftest.h"

/* A new, empty folder. */
const char *scratch_folder(selftest *t);
/* folder/name */
const char *scratch_path(selftest *t, const char *folder, const char *name);
/* Write count bytes, or a text, as folder/name, and return that path. A file that cannot be written
 * is a failure of the test. */
const char *scratch_put(selftest *t, const char *folder, const char *name, const void *bytes,
                        size_t count);
const char *scratch_text(selftest *t, const char *folder, const char *name, const char *text);
/* Remove everything; the runner calls it. */
void scratch_end(selftest *t);

#endif
