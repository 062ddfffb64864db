/* noop PORT: a server that answers MQTT as fast as it can and looks at nothing: whoever comes is let in, a publish is
 * acknowledged and goes to all who subscribed to anything. The load generators are measured against it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "mqtt.h"

struct peer {
    int fd;
    bool subscribed;
    size_t length;
    uint8_t bytes[65536];
    struct peer *next; /* of those who subscribed */
};

static struct peer *subscribers;

static int listen_on(int port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) die("socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0) die("listen");
    return fd;
}

static void answer(const struct peer *peer, uint8_t first, const uint8_t *rest, uint8_t length)
{
    uint8_t bytes[8] = {first, length};

    memcpy(bytes + 2, rest, length);
    (void)send(peer->fd, bytes, 2 + (size_t)length, MSG_NOSIGNAL);
}

/* To each subscriber with QoS 0, so without the packet's id. */
static void spread(const uint8_t *packet, size_t head, size_t length)
{
    const size_t topic = 2 + ((size_t)packet[head] << 8 | packet[head + 1]);
    uint8_t bytes[MQTT_PACKET_MAX];
    const size_t rest = length - 2;

    if (subscribers == NULL || rest > 0x7f) return; /* a length of one digit is enough for our messages */
    bytes[0] = MQTT_PUBLISH << 4;
    bytes[1] = (uint8_t)rest;
    memcpy(bytes + 2, packet + head, topic);
    memcpy(bytes + 2 + topic, packet + head + topic + 2, rest - topic);
    for (const struct peer *peer = subscribers; peer != NULL; peer = peer->next) {
        (void)send(peer->fd, bytes, 2 + rest, MSG_NOSIGNAL);
    }
}

static void act(struct peer *peer, const uint8_t *packet, size_t head, size_t length)
{
    static const uint8_t accepted[2] = {0, 0};
    uint8_t granted[3] = {0, 0, 0};

    switch (packet[0] >> 4) {
    case MQTT_CONNECT: answer(peer, MQTT_CONNACK << 4, accepted, 2); break;
    case MQTT_PINGREQ: answer(peer, MQTT_PINGRESP << 4, accepted, 0); break;
    case MQTT_PUBLISH:
        answer(peer, MQTT_PUBACK << 4, packet + head + 2 + ((size_t)packet[head] << 8 | packet[head + 1]), 2);
        spread(packet, head, length);
        break;
    case MQTT_SUBSCRIBE:
        memcpy(granted, packet + head, 2);
        answer(peer, (uint8_t)(MQTT_SUBACK << 4), granted, 3);
        peer->subscribed = true;
        peer->next = subscribers;
        subscribers = peer;
        break;
    default: break;
    }
}

/* Bytes of the whole packets among these. */
static size_t act_on_all(struct peer *peer)
{
    size_t at = 0;

    for (;;) {
        const uint8_t *packet = peer->bytes + at;
        const size_t there = peer->length - at;
        size_t length = 0, head = 1;

        do {
            if (head >= there) return at;
            length |= (size_t)(packet[head] & 0x7f) << (7 * (head - 1));
        } while ((packet[head++] & 0x80) != 0);
        if (there < head + length) return at;
        act(peer, packet, head, length);
        at += head + length;
    }
}

static void leave(struct peer *peer)
{
    for (struct peer **place = &subscribers; peer->subscribed && *place != NULL; place = &(*place)->next) {
        if (*place == peer) {
            *place = peer->next;
            break;
        }
    }
    (void)close(peer->fd);
    free(peer);
}

static void hear(struct peer *peer)
{
    const ssize_t got = recv(peer->fd, peer->bytes + peer->length, sizeof peer->bytes - peer->length, 0);
    size_t done;

    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        leave(peer);
        return;
    }
    peer->length += (size_t)got;
    done = act_on_all(peer);
    peer->length -= done;
    memmove(peer->bytes, peer->bytes + done, peer->length);
}

static void accept_all(int listener, int epoll)
{
    const int one = 1;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *peer = malloc(sizeof *peer); /* not cleared: its buffer would cost more than its CONNECT */
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};

        if (peer == NULL) die("memory");
        peer->fd = fd;
        peer->subscribed = false;
        peer->length = 0;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[256], event = {.events = EPOLLIN};
    int listener;

    if (argc != 2 || epoll < 0) die("noop PORT");
    listener = listen_on((int)parse_number(argv[1], 1, 65535, "PORT"));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) die("epoll_ctl");
    for (;;) {
        const int ready = epoll_wait(epoll, events, 256, -1);

        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL) accept_all(listener, epoll);
            else hear(events[i].data.ptr);
        }
    }
}
