/* Reads and parses a checks file, at once or in an errand. Runs on any thread; owns only what it returns. */
#include "cgi/checksfile.h"

#include "common/buf.h"

#include <stdlib.h>

struct reading {
    const char *path;
    struct checks checks; /* empty: error says why */
    struct error error;
};

bool checksfile_read(const char *path, struct checks *out, struct error *err)
{
    struct buf text = {0};
    bool ok = buf_read_file(&text, path, CHECKS_FILE_MAX, err);

    *out = (struct checks){0};
    if (!ok) {
        struct error why = *err;
        error_set(err, "HEALTH_CHECKS: %.200s", why.text);
    }
    ok = ok && checks_parse(text.data, text.len, path, out, err);
    buf_free(&text);
    return ok;
}

static void read_in_errand(void *data)
{
    struct reading *r = data;
    (void)!checksfile_read(r->path, &r->checks, &r->error);
}

static void free_reading(void *data)
{
    struct reading *r = data;
    checks_free(&r->checks);
    free(r);
}

struct errand *checksfile_start(const char *path, struct error *err)
{
    static const struct errand_kind kind = {"reading the checks file", read_in_errand, free_reading};
    struct reading *r = mem_calloc(1, sizeof *r);
    r->path = path;
    return errand_start(&kind, r, err);
}

bool checksfile_take(struct errand *reading, struct checks *out, struct error *err)
{
    struct reading *r = errand_result(reading);
    *out = r->checks;
    *err = r->error;
    r->checks = (struct checks){0};
    return out->count > 0;
}
