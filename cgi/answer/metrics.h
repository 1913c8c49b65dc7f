/* Turns facts into metrics for Prometheus. Pure; main thread. */
#ifndef ANSWER_METRICS_H
#define ANSWER_METRICS_H

#include "cgi/answer/document.h"

/* Prometheus' text format: https://prometheus.io/docs/instrumenting/exposition_formats/ */
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends each family with its HELP and TYPE. An unknown value has no sample; it is never a zero. Label
 * values are words of this program and names of checks, never text of a request. */
void metrics_render(const struct facts *facts, struct buf *out);

#endif
