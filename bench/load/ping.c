/* ping PORT USERS EVERY_MS SECONDS: the first user sends a PINGREQ on a schedule, whatever became of those before (open
 * loop). Milliseconds count from when each was to be sent. Prints one line of JSON. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common.h"
#include "mqtt.h"

#define WAIT_MS 20000 /* for the last answers */

struct pings {
    int fd;
    int64_t began, every;
    uint64_t total, sent, answered;
    struct mqtt_stream stream;
    uint64_t counts[MQTT_KINDS];
    struct latencies latencies;
};

static int64_t due(const struct pings *pings, uint64_t number)
{
    return pings->began + (int64_t)number * pings->every;
}

static void hear(struct pings *pings)
{
    uint8_t bytes[4096];
    const ssize_t got = recv(pings->fd, bytes, sizeof bytes, 0);
    const int64_t now = now_ns();

    if (got < 0 && errno == EAGAIN) return;
    errno = got == 0 ? 0 : errno;
    if (got <= 0) die("cut off");
    mqtt_count(&pings->stream, bytes, (size_t)got, pings->counts);
    while (pings->answered < pings->counts[MQTT_PINGRESP]) {
        note_latency(&pings->latencies, due(pings, pings->answered++), now);
    }
}

static void run(struct pings *pings)
{
    uint8_t bytes[MQTT_PACKET_MAX];
    const size_t length = mqtt_pingreq(bytes);

    while (pings->answered < pings->total) {
        struct pollfd polled = {.fd = pings->fd, .events = POLLIN};
        struct timespec wait = {.tv_sec = WAIT_MS / 1000};

        while (pings->sent < pings->total && due(pings, pings->sent) <= now_ns()) {
            send_all(pings->fd, bytes, length);
            pings->sent++;
        }
        if (pings->sent < pings->total) {
            const int64_t left = due(pings, pings->sent) - now_ns();

            wait = (struct timespec){.tv_nsec = left > 0 ? left % 1000000000 : 0, .tv_sec = left > 0 ? left / 1000000000 : 0};
        }
        if (ppoll(&polled, 1, &wait, NULL) > 0) hear(pings);
        else if (pings->sent == pings->total) return; /* what is left is not answered any more */
    }
}

int main(int argc, char **argv)
{
    struct pings pings = {0};
    size_t count;
    double cpu;

    if (argc != 5) die("ping PORT USERS EVERY_MS SECONDS");
    pings.every = (int64_t)parse_number(argv[3], 1, 100000, "EVERY_MS") * 1000000;
    pings.total = (uint64_t)(parse_number(argv[4], 1, 3600, "SECONDS") * 1000000000 / pings.every);
    pings.fd = come((int)parse_number(argv[1], 1, 65535, "PORT"), read_users(argv[2], &count));
    pings.began = now_ns();
    cpu = cpu_seconds();
    run(&pings);
    for (uint64_t i = pings.answered; i < pings.sent; i++) note_latency(&pings.latencies, due(&pings, i), now_ns());
    printf("{\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"sent\":%lu,\"answered\":%lu", (double)(now_ns() - pings.began) / 1e9,
           cpu_seconds() - cpu, pings.sent, pings.answered);
    print_latencies(&pings.latencies);
    puts("}");
    return 0;
}
