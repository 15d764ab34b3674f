/* SPDX-License-Identifier: MIT
 *
 * stop.h — how a long verb is ended: INT, TERM and HUP (a terminal that closes; not under nohup)
 * are noted, the verb asks between its pieces of work, keeps what is finished, and then ends as the
 * signal would have ended it.
 */
#ifndef MOSAIC_STOP_H
#define MOSAIC_STOP_H

#include "spec.h"

/* Note signals from now on. also (may be NULL) is called by the handler, after it is noted. */
void stop_watch(void (*also)(int number));
/* The signal that was noted, or 0. */
int stop_signal(void);
/* ERR_STOPPED if one was noted, else OK. */
status stop_check(void);
/* At the end of a verb: nothing if no signal was noted; else one line, "mosaic: VERB: interrupted"
 * and what is left, and the end of the program by that signal. */
void stop_end(const char *verb, const char *left, const char *path);

#endif
