/* flood PORT USERS RATE SECONDS: a CONNECT every 1/RATE s, whatever became of those before (open loop), by users in
 * turn; closed once it is answered. Milliseconds count from when each was to begin. Prints one line of JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "attempt.h"

#define WAIT_MS 5000 /* for answers to the last ones */

struct flood {
    int port, epoll;
    const struct user *users;
    size_t user_count, total, begun, ended;
    struct attempt *attempts;
    struct latencies latencies;
    uint64_t outcomes[OUTCOMES];
};

static void note(struct flood *flood, struct attempt *attempt, enum outcome outcome)
{
    if (outcome == PENDING) return;
    attempt->over = true;
    flood->outcomes[outcome]++;
    flood->ended++;
    if (outcome == ACCEPTED) (void)close(attempt->fd);
    note_latency(&flood->latencies, attempt->since, now_ns());
}

/* Whoever is due; returns milliseconds until the next one is. */
static int begin_due(struct flood *flood, int64_t began, long rate)
{
    while (flood->begun < flood->total) {
        const int64_t due = began + (int64_t)flood->begun * 1000000000 / rate;
        struct attempt *attempt = &flood->attempts[flood->begun];

        if (due > now_ns()) return (int)((due - now_ns()) / 1000000) + 1;
        note(flood, attempt,
             attempt_begin(attempt, flood->epoll, flood->port, &flood->users[flood->begun % flood->user_count], due));
        flood->begun++;
    }
    return WAIT_MS;
}

static void run(struct flood *flood, long rate)
{
    const int64_t began = now_ns();
    struct epoll_event events[256];

    while (flood->ended < flood->total) {
        const int wait = begin_due(flood, began, rate);
        int ready;

        if (flood->ended == flood->total) return;
        ready = epoll_wait(flood->epoll, events, 256, wait);
        if (ready == 0 && flood->begun == flood->total) return; /* what is left gets no answer */
        for (int i = 0; i < ready; i++) {
            struct attempt *attempt = events[i].data.ptr;

            note(flood, attempt, attempt_go_on(attempt, flood->epoll));
        }
    }
}

/* They have waited until now, and that counts. */
static void note_unanswered(struct flood *flood)
{
    const int64_t now = now_ns();

    for (size_t i = 0; i < flood->begun; i++) {
        if (!flood->attempts[i].over) note_latency(&flood->latencies, flood->attempts[i].since, now);
    }
}

int main(int argc, char **argv)
{
    struct flood flood = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    long rate, seconds;
    int64_t began;
    double cpu;

    if (argc != 5 || flood.epoll < 0) die("flood PORT USERS RATE SECONDS");
    flood.port = (int)parse_number(argv[1], 1, 65535, "PORT");
    flood.users = read_users(argv[2], &flood.user_count);
    rate = parse_number(argv[3], 1, 10000, "RATE");
    seconds = parse_number(argv[4], 1, 3600, "SECONDS");
    flood.total = (size_t)(rate * seconds);
    flood.attempts = calloc(flood.total, sizeof *flood.attempts);
    if (flood.attempts == NULL) die("memory");
    began = now_ns();
    cpu = cpu_seconds();
    run(&flood, rate);
    note_unanswered(&flood);
    printf("{\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"asked\":%zu,\"accepted\":%lu,\"refused\":%lu,\"closed\":%lu",
           (double)(now_ns() - began) / 1e9, cpu_seconds() - cpu, flood.begun, flood.outcomes[ACCEPTED],
           flood.outcomes[REFUSED], flood.outcomes[CLOSED]);
    print_latencies(&flood.latencies);
    puts("}");
    return 0;
}
