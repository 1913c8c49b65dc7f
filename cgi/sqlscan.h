/* Cuts SQL text into tokens where PostgreSQL's and psql's scanners do (manual, 4.1), as far as it takes to
 * tell comments, quotes and the end of a statement apart. Pure; any thread. */
#ifndef CGI_SQLSCAN_H
#define CGI_SQLSCAN_H

#include <stdbool.h>
#include <stddef.h>

enum sqlscan_kind {
    SQLSCAN_END,
    SQLSCAN_LINE_COMMENT, /* without its line end */
    SQLSCAN_BLOCK_COMMENT,
    SQLSCAN_SEMICOLON,
    SQLSCAN_TOKEN, /* anything else: part of a statement */
    SQLSCAN_BAD,   /* see why */
};

/* Set at, end and line (of at, 1 for a whole file), the rest zero. */
struct sqlscan {
    const char *at;
    const char *end;
    int line;
    bool after_escape_string; /* sqlscan.c only */
    /* The token that sqlscan_next found, [token, at), and the line where it begins. */
    const char *token;
    int token_line;
    const char *why; /* SQLSCAN_BAD: a literal */
};

/* Skips white space and takes the next token. Not to be called again after SQLSCAN_BAD. */
enum sqlscan_kind sqlscan_next(struct sqlscan *scan);

/* White space as the scanner of PostgreSQL 15 has it (scan.l), whatever the locale says. */
bool sqlscan_is_space(char c);

#endif
