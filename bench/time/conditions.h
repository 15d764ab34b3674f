/* SPDX-License-Identifier: MIT
 *
 * conditions.h — the state of the machine around a measurement: read, never set.
 */
#ifndef MOSAIC_CONDITIONS_H
#define MOSAIC_CONDITIONS_H

#include "store/results.h"

/* Attributes NAME_when (when: "before", "after") of what can be read here: of a CPU clock_cpu (MHz,
 * mean of its cores), temperature_cpu (degrees C, the hottest zone), load (of a minute); with
 * device, of a GPU clock_sm, clock_memory (MHz), temperature (degrees C), throttle (NVML's bits of
 * reasons), and once `driver`. What cannot be read has no attribute. ERR_MEMORY. */
status conditions_note(results *r, const char *when, int device);

#endif
