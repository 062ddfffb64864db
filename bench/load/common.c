#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mqtt.h"

_Noreturn void die(const char *what)
{
    fprintf(stderr, "%s%s%s\n", what, errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
    exit(1);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t length = 0, room = 0;

    if (file == NULL) die(path);
    do {
        room = room * 2 + 65536;
        text = realloc(text, room);
        if (text == NULL) die("memory");
        length += fread(text + length, 1, room - length - 1, file);
    } while (length == room - 1);
    text[length] = '\0';
    (void)fclose(file);
    return text;
}

struct user *read_users(const char *path, size_t *count)
{
    struct user *users = NULL;
    size_t room = 0;
    char *rest = read_file(path), *line;

    *count = 0;
    while ((line = strsep(&rest, "\n")) != NULL) {
        const char *client_id = strsep(&line, "\t"), *username = strsep(&line, "\t");

        if (client_id[0] == '\0') continue;
        if (*count == room) {
            room = room * 2 + 1024;
            users = realloc(users, room * sizeof *users);
            if (users == NULL) die("memory");
        }
        users[(*count)++] = (struct user){client_id, username, username != NULL && line != NULL ? line : NULL};
        if ((username != NULL) != (users[*count - 1].password != NULL)) die("a username without a password");
    }
    errno = 0;
    if (*count == 0) die("no users");
    return users;
}

long parse_number(const char *text, long least, long most, const char *what)
{
    char *end;
    const long number = strtol(text, &end, 10);

    errno = 0;
    if (end == text || *end != '\0' || number < least || number > most) die(what);
    return number;
}

int64_t now_ns(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

double cpu_seconds(void)
{
    struct rusage usage = {0};

    (void)getrusage(RUSAGE_SELF, &usage);
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

int open_socket(int port, bool *connected)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* Ended by a reset: ports would run out in TIME_WAIT after 28,000 connections. */
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    *connected = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (*connected || errno == EINPROGRESS) return fd;
    (void)close(fd);
    return -1;
}

static void wait_for(int fd, short events)
{
    struct pollfd polled = {.fd = fd, .events = events};

    while (poll(&polled, 1, -1) < 0) {
        if (errno != EINTR) die("poll");
    }
}

void wait_readable(int fd)
{
    wait_for(fd, POLLIN);
}

void send_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        const ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent >= 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            wait_for(fd, POLLOUT);
        } else if (errno != EINTR) {
            die("send");
        }
    }
}

int come(int port, const struct user *user)
{
    uint8_t bytes[MQTT_PACKET_MAX];
    const size_t length = mqtt_connect(bytes, user->client_id, user->username, user->password);
    const int one = 1;
    bool connected;
    const int fd = open_socket(port, &connected);

    if (fd < 0 || length == 0) die("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!connected) wait_for(fd, POLLOUT);
    send_all(fd, bytes, length);
    for (size_t got = 0; got < 4;) {
        ssize_t more;

        wait_readable(fd);
        more = recv(fd, bytes + got, 4 - got, 0);
        errno = more == 0 ? 0 : errno;
        if (more <= 0) die("no CONNACK");
        got += (size_t)more;
    }
    errno = 0;
    if (bytes[0] != MQTT_CONNACK << 4 || bytes[3] != 0) die("the CONNECT was refused");
    return fd;
}

void note_latency(struct latencies *latencies, int64_t from_ns, int64_t to_ns)
{
    if (latencies->count == latencies->room) {
        latencies->room = latencies->room * 2 + 1024;
        latencies->values = realloc(latencies->values, latencies->room * sizeof *latencies->values);
        if (latencies->values == NULL) die("memory");
    }
    latencies->values[latencies->count++] = (double)(to_ns - from_ns) / 1e6;
}

static int compare(const void *a, const void *b)
{
    const double one = *(const double *)a, other = *(const double *)b;

    return (one > other) - (one < other);
}

static double quantile(const struct latencies *latencies, double share)
{
    const size_t place = (size_t)((double)latencies->count * share);

    if (latencies->count == 0) return -1;
    return latencies->values[place < latencies->count ? place : latencies->count - 1];
}

void print_latencies(struct latencies *latencies)
{
    if (latencies->count > 0) qsort(latencies->values, latencies->count, sizeof *latencies->values, compare);
    printf(",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f", quantile(latencies, 0.5), quantile(latencies, 0.99),
           quantile(latencies, 1));
}
