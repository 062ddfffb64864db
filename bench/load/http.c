/*
 * http PORT PATH BODIES CONNECTIONS COUNT FIRST, and AUTHORIZATION in the environment
 *
 * Asks COUNT questions over kept-alive connections, each the next line of the file BODIES (from line FIRST on, and again
 * from the start after the last one), a new one as soon as a connection has its answer. Prints one line of JSON: seconds,
 * answers, how many were not 200, microseconds from a question to its answer (p50, p99), CPU seconds of this program.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 1024, ANSWER_SIZE = 65536, HEAD_SIZE = 2048 };

struct question {
    char *bytes;
    size_t length;
};

struct connection {
    int fd;
    double asked;
    size_t filled;
    char answer[ANSWER_SIZE];
};

struct run {
    struct question *questions;
    size_t count, next, left, answers, not_200;
    float *waits;
};

static void die(const char *what)
{
    fprintf(stderr, "http: %s: %s\n", what, errno ? strerror(errno) : "malformed");
    exit(1);
}

static double now(void)
{
    struct timespec at;
    if (clock_gettime(CLOCK_MONOTONIC, &at) != 0)
        die("clock");
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static struct question make_question(const char *path, const char *authorization, const char *body, size_t length)
{
    struct question made = {malloc(HEAD_SIZE + length), 0};
    if (made.bytes == NULL)
        die("memory");
    int head = snprintf(made.bytes, HEAD_SIZE,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        path, authorization, length);
    if (head < 0 || head >= HEAD_SIZE)
        die("head");
    memcpy(made.bytes + head, body, length);
    made.length = (size_t)head + length;
    return made;
}

static void read_questions(struct run *run, const char *file, const char *path, const char *authorization)
{
    FILE *bodies = fopen(file, "r");
    if (bodies == NULL)
        die(file);
    char *line = NULL;
    size_t size = 0, room = 0;
    ssize_t length;
    while ((length = getline(&line, &size, bodies)) > 0) {
        if (line[length - 1] == '\n')
            length--;
        if (run->count == room) {
            room = room ? room * 2 : 1024;
            run->questions = realloc(run->questions, room * sizeof *run->questions);
            if (run->questions == NULL)
                die("memory");
        }
        run->questions[run->count++] = make_question(path, authorization, line, (size_t)length);
    }
    free(line);
    if (fclose(bodies) != 0 || run->count == 0)
        die(file);
}

static int open_connection(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    return fd;
}

static void ask(struct run *run, struct connection *connection)
{
    const struct question *question = &run->questions[run->next];
    run->next = (run->next + 1) % run->count;
    run->left--;
    connection->filled = 0;
    connection->asked = now();
    if (send(connection->fd, question->bytes, question->length, MSG_NOSIGNAL) != (ssize_t)question->length)
        die("send");
}

/* Whether the answer in the buffer is whole. */
static bool is_whole(const struct connection *connection)
{
    const char *end = strstr(connection->answer, "\r\n\r\n");
    if (end == NULL)
        return false;
    const char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    if (length == NULL || length > end)
        die("answer without a length");
    size_t body = strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    return connection->filled >= (size_t)(end + 4 - connection->answer) + body;
}

static void take(struct run *run, struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->answer + connection->filled, ANSWER_SIZE - 1 - connection->filled, 0);
    if (got <= 0)
        die("the server closed the connection");
    connection->filled += (size_t)got;
    connection->answer[connection->filled] = '\0';
    if (!is_whole(connection))
        return;
    run->waits[run->answers++] = (float)((now() - connection->asked) * 1e6);
    if (connection->filled < 12 || memcmp(connection->answer + 9, "200", 3) != 0)
        run->not_200++;
    if (run->left > 0)
        ask(run, connection);
}

static int compare(const void *one, const void *other)
{
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

static void print_result(struct run *run, double seconds)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        die("getrusage");
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    qsort(run->waits, run->answers, sizeof *run->waits, compare);
    printf("{\"seconds\":%.6f,\"answers\":%zu,\"not_200\":%zu,\"p50\":%.1f,\"p99\":%.1f,\"cpu\":%.3f}\n", seconds,
           run->answers, run->not_200, (double)run->waits[run->answers / 2],
           (double)run->waits[run->answers * 99 / 100], cpu);
}

int main(int argc, char **argv)
{
    const char *authorization = getenv("AUTHORIZATION");
    if (argc != 7 || authorization == NULL) {
        fprintf(stderr, "usage: AUTHORIZATION=... http PORT PATH BODIES CONNECTIONS COUNT FIRST\n");
        return 2;
    }
    size_t connections = strtoul(argv[4], NULL, 10), total = strtoul(argv[5], NULL, 10);
    struct run run = {.left = total};
    read_questions(&run, argv[3], argv[2], authorization);
    run.next = strtoul(argv[6], NULL, 10) % run.count;
    run.waits = malloc(total * sizeof *run.waits);
    struct connection *all = calloc(connections, sizeof *all);
    int poll = epoll_create1(0);
    if (connections < 1 || connections > MOST_CONNECTIONS || total < connections || !run.waits || !all || poll < 0)
        die("arguments");
    for (size_t i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        all[i].fd = open_connection(atoi(argv[1]));
        if (epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event) != 0)
            die("epoll");
    }
    double began = now();
    for (size_t i = 0; i < connections; i++)
        ask(&run, &all[i]);
    while (run.answers < total) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, -1);
        if (ready < 0 && errno != EINTR)
            die("epoll");
        for (int i = 0; i < ready; i++)
            take(&run, events[i].data.ptr);
    }
    print_result(&run, now() - began);
    return 0;
}
