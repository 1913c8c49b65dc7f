/* What the scripted libpq hands out as PGresult; the PQ functions over it are in the .c. */
#ifndef TESTS_UNIT_SCRIPTED_RESULT_H
#define TESTS_UNIT_SCRIPTED_RESULT_H

#include "tests/unit/cgi/probe/scripted_libpq.h"

#include <stdbool.h>
#include <stddef.h>

/* owned_by_libpq: a notice, which is valid until result_end_notice and never cleared by the receiver. */
PGresult *result_new(const struct pq_result *says, bool owned_by_libpq);
void result_end_notice(PGresult *notice);

/* Frees all; returns how many were not cleared. */
size_t results_free(void);

#endif
