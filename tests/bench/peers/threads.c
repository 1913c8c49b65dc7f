/* libfcgi as its documentation shows it (examples/threaded.c): a pool of 20 threads, each with a request of
 * its own, accepting one after the other under a mutex. For `make bench`: it answers with the bytes of the
 * file argv[1]. The listening socket is descriptor 0. With a second argument, "keep", the mutex is left out.
 * FCGX_Accept_r on a kept connection waits for its next request; under the mutex all other threads wait with
 * it, and behind a keep-alive nginx the documented form answers 503. */
#include <fcgiapp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define THREADS 20

static char answer[32768];
static int answer_len;
static bool is_serialized = true;

static void *serve(void *unused)
{
    static pthread_mutex_t accepting = PTHREAD_MUTEX_INITIALIZER;
    FCGX_Request request;
    FCGX_InitRequest(&request, 0, 0);
    for (;;) {
        if (is_serialized)
            pthread_mutex_lock(&accepting);
        int status = FCGX_Accept_r(&request);
        if (is_serialized)
            pthread_mutex_unlock(&accepting);
        if (status < 0)
            return unused;
        FCGX_PutStr(answer, answer_len, request.out);
        FCGX_Finish_r(&request);
    }
}

int main(int argc, char **argv)
{
    FILE *file = argc >= 2 ? fopen(argv[1], "r") : NULL;
    answer_len = file ? (int)fread(answer, 1, sizeof answer, file) : 0;
    if (answer_len == 0) {
        fputs("usage: threads ANSWER [keep] <LISTENER\n", stderr);
        return 64;
    }
    fclose(file);
    is_serialized = argc < 3 || strcmp(argv[2], "keep") != 0;
    FCGX_Init();
    pthread_t threads[THREADS];
    for (int i = 1; i < THREADS; i++)
        pthread_create(&threads[i], NULL, serve, NULL);
    serve(NULL);
    return 1;
}
