/* Defines getaddrinfo(3) and related functions in virtual time. */
#include "tests/sim/resolver.h"

#include "tests/sim/net.h"
#include "tests/sim/threads.h"
#include "tests/sim/timeline.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct resolver resolver;

int resolver_find(const char *name, int addresses[static 8])
{
    int number;

    if (sscanf(name, "10.0.0.%d", &number) == 1 || name[0] == '/') {
        addresses[0] = name[0] == '/' ? 0 : number - 1;
        return addresses[0] >= 0 && addresses[0] < net.address_count ? 1 : 0;
    }
    bool dead = resolver.dead > 0;
    int64_t takes_ns = dead ? resolver.dead_ns : resolver.takes_ns;
    threads_wait(timeline_now_ns + takes_ns, NULL, NULL);
    if (dead || strcmp(name, "db.sim") != 0)
        return 0;
    for (int i = 0; i < net.address_count; i++)
        addresses[i] = i;
    return net.address_count;
}

struct found {
    struct addrinfo info;
    struct sockaddr_in address;
};

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    int addresses[8];
    int count = resolver_find(name, addresses);

    *out = NULL;
    if (count == 0)
        return EAI_AGAIN;
    for (int i = count - 1; i >= 0; i--) {
        struct found *found = calloc(1, sizeof *found);
        if (found == NULL)
            abort();
        char text[32];
        snprintf(text, sizeof text, "10.0.0.%d", addresses[i] + 1);
        inet_pton(AF_INET, text, &found->address.sin_addr);
        found->address.sin_family = AF_INET;
        found->address.sin_port = htons((uint16_t)(service != NULL ? atoi(service) : 5432));
        found->info = (struct addrinfo){.ai_family = AF_INET,
                                        .ai_socktype = hints != NULL ? hints->ai_socktype : SOCK_STREAM,
                                        .ai_addrlen = sizeof found->address,
                                        .ai_addr = (struct sockaddr *)&found->address,
                                        .ai_next = *out};
        *out = &found->info;
    }
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    for (struct addrinfo *next; list != NULL; list = next) {
        next = list->ai_next;
        free(list); /* the first field of its struct found */
    }
}
