/* The PGresult of the scripted libpq. The .c file also defines the PQ functions that read one. */
#ifndef TESTS_UNIT_SCRIPTED_RESULT_H
#define TESTS_UNIT_SCRIPTED_RESULT_H

#include "tests/unit/cgi/probe/scripted_libpq.h"

#include <stdbool.h>
#include <stddef.h>

/* owned_by_libpq: a notice. It is valid until result_end_notice, and its receiver never clears it. */
PGresult *result_new(const struct pq_result *says, bool owned_by_libpq);
void result_end_notice(PGresult *notice);

/* Frees all results, and returns how many were not cleared. */
size_t results_free(void);

#endif
