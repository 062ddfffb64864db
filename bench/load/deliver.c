/* deliver PORT USERS FILTER TOPIC: the first user publishes with QoS 1 and 64 bytes, all others subscribe with QoS 0.
 * Each line of standard input says how many messages, one after another: the next one goes out when the one before was
 * acknowledged and everybody has it. Answered by a line of JSON. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common.h"
#include "mqtt.h"

#define PAYLOAD 64

struct peer {
    int fd;
    struct mqtt_stream stream;
};

struct load {
    int epoll;
    struct peer *peers; /* the first one publishes */
    size_t count;
    const char *topic;
    uint64_t counts[MQTT_KINDS];
};

static void hear(struct load *load)
{
    struct epoll_event events[256];
    const int ready = epoll_wait(load->epoll, events, 256, 20000);

    errno = ready == 0 ? 0 : errno;
    if (ready <= 0) die("nothing arrives for 20 s");
    for (int i = 0; i < ready; i++) {
        struct peer *peer = events[i].data.ptr;
        uint8_t bytes[8192];
        const ssize_t got = recv(peer->fd, bytes, sizeof bytes, 0);

        if (got < 0 && errno == EAGAIN) continue;
        if (got <= 0) die("cut off");
        mqtt_count(&peer->stream, bytes, (size_t)got, load->counts);
    }
}

static void subscribe_all(struct load *load, const char *filter)
{
    uint8_t bytes[MQTT_PACKET_MAX];
    const size_t length = mqtt_subscribe(bytes, filter, 1);

    for (size_t i = 1; i < load->count; i++) {
        send_all(load->peers[i].fd, bytes, length);
        while (load->counts[MQTT_SUBACK] < i) hear(load);
    }
}

static void run(struct load *load, uint64_t messages)
{
    const uint64_t each = load->count - 1;
    uint64_t acknowledged = load->counts[MQTT_PUBACK], delivered = load->counts[MQTT_PUBLISH];
    uint8_t bytes[MQTT_PACKET_MAX];

    for (uint64_t i = 0; i < messages; i++) {
        send_all(load->peers[0].fd, bytes, mqtt_publish(bytes, load->topic, PAYLOAD, (uint16_t)(i % 65535 + 1)));
        acknowledged++;
        delivered += each;
        while (load->counts[MQTT_PUBACK] < acknowledged || load->counts[MQTT_PUBLISH] < delivered) hear(load);
    }
}

static void come_all(struct load *load, int port, const char *path)
{
    const struct user *users = read_users(path, &load->count);

    load->peers = calloc(load->count, sizeof *load->peers);
    if (load->peers == NULL) die("memory");
    for (size_t i = 0; i < load->count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &load->peers[i]};

        load->peers[i].fd = come(port, &users[i]);
        if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->peers[i].fd, &event) != 0) die("epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    struct load load = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    uint64_t messages;

    if (argc != 5 || load.epoll < 0) die("deliver PORT USERS FILTER TOPIC");
    load.topic = argv[4];
    come_all(&load, (int)parse_number(argv[1], 1, 65535, "PORT"), argv[2]);
    subscribe_all(&load, argv[3]);
    puts("{\"ready\":true}");
    (void)fflush(stdout);
    while (scanf("%lu", &messages) == 1) {
        const int64_t began = now_ns();
        const double cpu = cpu_seconds();
        const uint64_t before = load.counts[MQTT_PUBLISH];

        run(&load, messages);
        printf("{\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"delivered\":%lu}\n", (double)(now_ns() - began) / 1e9,
               cpu_seconds() - cpu, load.counts[MQTT_PUBLISH] - before);
        (void)fflush(stdout);
    }
    return 0;
}
