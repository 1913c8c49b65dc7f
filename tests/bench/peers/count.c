/* The least that a CGI program must do to count in the database, for `make bench`: connect, count the five
 * tables, print. Uses only libpq, and has no timeouts and no reasons. */
#include <libpq-fe.h>
#include <stdio.h>

int main(void)
{
    static const char *const tables[] = {"hypotheses", "analyses", "entities", "edges", "debates"};
    const char *counts[5];
    PGconn *connection = PQconnectdb("");
    for (int i = 0; i < 5; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", tables[i]);
        PGresult *result = PQexec(connection, sql);
        if (PQresultStatus(result) != PGRES_TUPLES_OK) {
            fputs(PQerrorMessage(connection), stderr);
            return 1;
        }
        counts[i] = PQgetvalue(result, 0, 0); /* the exit of the process frees it */
    }
    printf("Status: 200 OK\r\nContent-Type: application/json\r\n\r\n{\"status\":\"healthy\",\"counts\":{");
    for (int i = 0; i < 5; i++)
        printf("%s\"%s\":%s", i ? "," : "", tables[i], counts[i]);
    printf("}}\n");
    PQfinish(connection);
    return 0;
}
