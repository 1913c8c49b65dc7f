/* libfcgi as in its documentation (examples/threaded.c), for `make bench`: 20 threads, which accept one after
 * the other under a mutex. Answers with the bytes of the file argv[1]. The listening socket is descriptor 0.
 * A second argument, "keep", leaves out the mutex: on a kept connection FCGX_Accept_r waits for the next
 * request, and with the mutex all other threads wait, too. So with a keep-alive nginx the documented form
 * answers 503. */
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
