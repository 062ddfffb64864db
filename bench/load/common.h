/* What all load generators need: users from a file, time, sockets on loopback, and the figures at the end. */
#ifndef COMMON_H
#define COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Says why and ends the program with status 1. */
_Noreturn void die(const char *what);

struct user {
    const char *client_id, *username, *password; /* the last two NULL: anonymous */
};

/* From lines of client id, username and password with tabs between, or of client ids alone. Dies where there is none:
 * passwords come in a file, as everybody may read a command line. */
struct user *read_users(const char *path, size_t *count);

long parse_number(const char *text, long least, long most, const char *what);

int64_t now_ns(void);
double cpu_seconds(void);

/* A TCP connection to a port on loopback; MQTT's CONNECT was accepted. Blocking. Dies where it is not. */
int come(int port, const struct user *user);
/* -1: nothing to be had. Not blocking; *connected says whether it is one yet. */
int open_socket(int port, bool *connected);
void send_all(int fd, const uint8_t *bytes, size_t length);
void wait_readable(int fd);

/* Milliseconds, of which a program tells some quantiles. */
struct latencies {
    double *values;
    size_t count, room;
};

void note_latency(struct latencies *latencies, int64_t from_ns, int64_t to_ns);
/* Prints `,"p50_ms":...,"p99_ms":...,"max_ms":...`; without any value -1. */
void print_latencies(struct latencies *latencies);

#endif
