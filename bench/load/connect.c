/* connect PORT USERS WINDOW [hold]: each user comes once, so many at a time; closed after its CONNACK.
 * hold: connections stay until standard input ends. Prints one line of JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attempt.h"

struct load {
    int port, epoll;
    const struct user *users;
    size_t count, begun, ended;
    bool hold;
    uint64_t outcomes[OUTCOMES];
};

static void begin_next(struct load *load, struct attempt *attempt)
{
    while (load->begun < load->count) {
        const struct user *user = &load->users[load->begun++];

        if (attempt_begin(attempt, load->epoll, load->port, user, 0) == PENDING) return;
        load->outcomes[CLOSED]++;
        load->ended++;
    }
}

static void note(struct load *load, struct attempt *attempt, enum outcome outcome)
{
    load->outcomes[outcome]++;
    load->ended++;
    if (outcome == ACCEPTED && !load->hold) (void)close(attempt->fd);
    if (outcome == ACCEPTED && load->hold) (void)epoll_ctl(load->epoll, EPOLL_CTL_DEL, attempt->fd, NULL);
    begin_next(load, attempt);
}

static void run(struct load *load, size_t window)
{
    struct attempt *attempts = calloc(window, sizeof *attempts);
    struct epoll_event events[256];

    if (attempts == NULL) die("memory");
    for (size_t i = 0; i < window && load->begun < load->count; i++) begin_next(load, &attempts[i]);
    while (load->ended < load->count) {
        const int ready = epoll_wait(load->epoll, events, 256, 20000);

        if (ready <= 0) die("no answer for 20 s");
        for (int i = 0; i < ready; i++) {
            struct attempt *attempt = events[i].data.ptr;
            const enum outcome outcome = attempt_go_on(attempt, load->epoll);

            if (outcome != PENDING) note(load, attempt, outcome);
        }
    }
    free(attempts);
}

int main(int argc, char **argv)
{
    struct load load = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    size_t window;
    int64_t began;
    double cpu;

    if (argc < 4 || load.epoll < 0) die("connect PORT USERS WINDOW [hold]");
    load.port = (int)parse_number(argv[1], 1, 65535, "PORT");
    load.users = read_users(argv[2], &load.count);
    window = (size_t)parse_number(argv[3], 1, 10000, "WINDOW");
    load.hold = argc > 4 && strcmp(argv[4], "hold") == 0;
    began = now_ns();
    cpu = cpu_seconds();
    run(&load, window);
    printf("{\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"asked\":%zu,\"accepted\":%lu,\"refused\":%lu,\"closed\":%lu}\n",
           (double)(now_ns() - began) / 1e9, cpu_seconds() - cpu, load.count, load.outcomes[ACCEPTED],
           load.outcomes[REFUSED], load.outcomes[CLOSED]);
    (void)fflush(stdout);
    while (load.hold && getchar() != EOF) {}
    return 0;
}
