/*
 * Devices that are provisioned, so many at a time, each from its CONNECT at the provision broker to the CONNACK of its
 * login at the account broker: CONNECT, SUBSCRIBE, ask with the activation key, reply, DISCONNECT, CONNECT.
 *
 *   provision PROVISION_PORT ACCOUNT_PORT CONCURRENCY < devices
 *
 * One line a device: client_id,username,password,key (key may be empty). Brokers are on 127.0.0.1. A step that the
 * broker does not let through is tried again, RETRIES times. Prints one JSON object: count, failed, retries, seconds,
 * p50_ms, p99_ms, cpu_seconds (its own).
 */
#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RETRIES 20
#define BUFFER 65536
#define FIELD 256

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIBE = 0x82, SUBACK = 0x90, DISCONNECT = 0xE0 };
enum stage { IDLE, AT_PROVISION, AT_ACCOUNT };

struct device {
    char client_id[FIELD], username[FIELD], password[FIELD], key[FIELD];
};

/* One of CONCURRENCY places, which devices take one after another. */
struct place {
    const struct device *device;
    enum stage stage;
    int fd;
    int retries;
    double began;
    char username[FIELD], password[FIELD]; /* of the generated user */
    size_t filled;
    unsigned char buffer[BUFFER];
};

static struct device *devices;
static size_t device_count, next_device, finished, failed, retried;
static double *latencies;
static uint16_t provision_port, account_port;
static int poller;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- packets ------------------------------------------------------------------------------------------------------ */

struct packet {
    size_t length;
    unsigned char bytes[2048];
};

static void put(struct packet *packet, const void *bytes, size_t length) {
    if (packet->length + length > sizeof packet->bytes) {
        fputs("a packet is too long\n", stderr);
        exit(1);
    }
    memcpy(packet->bytes + packet->length, bytes, length);
    packet->length += length;
}

static void put_u16(struct packet *packet, size_t value) {
    put(packet, (unsigned char[]){(unsigned char)(value >> 8), (unsigned char)value}, 2);
}

static void put_text(struct packet *packet, const char *text) {
    put_u16(packet, strlen(text));
    put(packet, text, strlen(text));
}

/* The connection's buffer takes a packet whole: each waits for the answer to the one before. */
static bool send_packet(int fd, unsigned char type, const struct packet *body) {
    unsigned char header[5] = {type};
    size_t at = 1, rest = body->length;
    do {
        header[at] = (unsigned char)(rest % 128);
        rest /= 128;
        if (rest) header[at] |= 128;
        at++;
    } while (rest);
    struct packet whole = {0};
    put(&whole, header, at);
    put(&whole, body->bytes, body->length);
    return send(fd, whole.bytes, whole.length, MSG_NOSIGNAL) == (ssize_t)whole.length;
}

static bool send_connect(int fd, const char *client_id, const char *username, const char *password) {
    struct packet body = {0};
    put(&body, "\0\4MQTT\4\xc2\0\x3c", 10); /* 3.1.1, clean, username and password, keep alive 60 s */
    put_text(&body, client_id);
    put_text(&body, username);
    put_text(&body, password);
    return send_packet(fd, CONNECT, &body);
}

static bool send_subscribe(int fd, const char *client_id) {
    char topic[2 * FIELD];
    snprintf(topic, sizeof topic, "prov/v1/%s/reply", client_id);
    struct packet body = {0};
    put_u16(&body, 1);
    put_text(&body, topic);
    put(&body, "\1", 1);
    return send_packet(fd, SUBSCRIBE, &body);
}

static bool send_ask(int fd, const struct device *device) {
    char topic[2 * FIELD], ask[3 * FIELD];
    snprintf(topic, sizeof topic, "prov/v1/%s/request", device->client_id);
    if (device->key[0])
        snprintf(ask, sizeof ask, "{\"id\":\"a-1\",\"activation_key\":\"%s\"}", device->key);
    else
        snprintf(ask, sizeof ask, "{\"id\":\"a-1\"}");
    struct packet body = {0};
    put_text(&body, topic);
    put_u16(&body, 2);
    put(&body, ask, strlen(ask));
    return send_packet(fd, PUBLISH | 2, &body);
}

/* --- a device's way ----------------------------------------------------------------------------------------------- */

static void open_at(struct place *place, uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    /* On loopback this does not wait but for the listener's queue. */
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    place->fd = fd;
    place->filled = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = place};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void leave(struct place *place) {
    struct packet nothing = {0};
    send_packet(place->fd, DISCONNECT, &nothing);
    close(place->fd);
    place->fd = -1;
}

static void go_to(struct place *place, enum stage stage) {
    bool first = stage == AT_PROVISION;
    place->stage = stage;
    open_at(place, first ? provision_port : account_port);
    /* Where this fails, the end of the connection is read next. */
    (void)send_connect(place->fd, place->device->client_id, first ? place->device->username : place->username,
                       first ? place->device->password : place->password);
}

static void take_next(struct place *place) {
    if (next_device == device_count) {
        place->stage = IDLE;
        return;
    }
    place->device = &devices[next_device++];
    place->retries = 0;
    place->began = monotonic();
    go_to(place, AT_PROVISION);
}

static void finish(struct place *place, bool well) {
    if (well)
        latencies[finished++] = monotonic() - place->began;
    else
        failed++;
    take_next(place);
}

static void try_again(struct place *place) {
    close(place->fd);
    place->fd = -1;
    retried++;
    if (++place->retries > RETRIES)
        finish(place, false);
    else
        go_to(place, place->stage);
}

/* Whether the reply holds credentials; they are kept. */
static bool read_reply(struct place *place, const char *text, size_t length) {
    cJSON *reply = cJSON_ParseWithLength(text, length);
    const cJSON *connection = cJSON_GetObjectItemCaseSensitive(reply, "connection");
    const cJSON *username = cJSON_GetObjectItemCaseSensitive(connection, "username");
    const cJSON *password = cJSON_GetObjectItemCaseSensitive(connection, "password");
    bool good = cJSON_IsString(username) && cJSON_IsString(password);
    if (good) {
        snprintf(place->username, FIELD, "%s", username->valuestring);
        snprintf(place->password, FIELD, "%s", password->valuestring);
    }
    cJSON_Delete(reply);
    return good;
}

static bool on_publish(struct place *place, unsigned char type, const unsigned char *body, size_t length) {
    size_t topic = length < 2 ? length : (size_t)body[0] << 8 | body[1];
    size_t head = 2 + topic + (type & 6 ? 2 : 0);
    if (head > length) return false;
    if (type & 6) {
        struct packet acknowledged = {0};
        put(&acknowledged, body + 2 + topic, 2);
        send_packet(place->fd, PUBACK, &acknowledged);
    }
    if (!read_reply(place, (const char *)body + head, length - head)) return false;
    leave(place);
    go_to(place, AT_ACCOUNT);
    return true;
}

/* False: the broker did not let it through. The connection may be another one afterwards. */
static bool on_packet(struct place *place, unsigned char type, const unsigned char *body, size_t length) {
    switch (type & 0xF0) {
    case CONNACK:
        if (length < 2 || body[1] != 0) return false;
        if (place->stage == AT_PROVISION) return send_subscribe(place->fd, place->device->client_id);
        leave(place);
        finish(place, true);
        return true;
    case SUBACK:
        return length >= 3 && body[2] < 128 && send_ask(place->fd, place->device);
    case PUBLISH:
        return on_publish(place, type, body, length);
    default:
        return true;
    }
}

/* The whole packets of the buffer, until the connection is another one. */
static void read_packets(struct place *place) {
    int fd = place->fd;
    size_t at = 0;
    while (place->fd == fd && place->filled - at >= 2) {
        size_t length = 0, header = 1;
        unsigned shift = 0;
        bool whole = false;
        while (at + header < place->filled && shift < 28 && !whole) {
            unsigned char digit = place->buffer[at + header++];
            length |= (size_t)(digit & 127) << shift;
            shift += 7;
            whole = !(digit & 128);
        }
        if (!whole || place->filled - at < header + length) break;
        if (!on_packet(place, place->buffer[at], place->buffer + at + header, length)) {
            try_again(place);
            return;
        }
        if (place->filled == 0) return; /* a new connection, perhaps of the same number */
        at += header + length;
    }
    if (place->fd != fd) return;
    memmove(place->buffer, place->buffer + at, place->filled - at);
    place->filled -= at;
}

static void on_readable(struct place *place) {
    ssize_t got = recv(place->fd, place->buffer + place->filled, BUFFER - place->filled, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        try_again(place);
        return;
    }
    place->filled += (size_t)got;
    read_packets(place);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void read_devices(void) {
    char line[4 * FIELD];
    size_t room = 0;
    while (fgets(line, sizeof line, stdin)) {
        if (device_count == room) {
            room = room ? 2 * room : 1024;
            devices = realloc(devices, room * sizeof *devices);
            if (!devices) die("realloc");
        }
        struct device *device = &devices[device_count++];
        char *fields[] = {device->client_id, device->username, device->password, device->key};
        char *rest = line;
        line[strcspn(line, "\n")] = 0;
        for (size_t i = 0; i < 4; i++) {
            char *field = strsep(&rest, ",");
            snprintf(fields[i], FIELD, "%s", field ? field : "");
        }
    }
    latencies = calloc(device_count + 1, sizeof *latencies);
    if (!latencies) die("calloc");
}

static int compare(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void print_figures(double seconds) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    qsort(latencies, finished, sizeof *latencies, compare);
    printf("{\"count\": %zu, \"failed\": %zu, \"retries\": %zu, \"seconds\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, "
           "\"cpu_seconds\": %.3f}\n",
           finished, failed, retried, seconds, latencies[finished / 2] * 1e3, latencies[finished * 99 / 100] * 1e3, cpu);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: provision PROVISION_PORT ACCOUNT_PORT CONCURRENCY < devices\n", stderr);
        return 2;
    }
    provision_port = (uint16_t)atoi(argv[1]);
    account_port = (uint16_t)atoi(argv[2]);
    size_t concurrency = (size_t)atoi(argv[3]);
    read_devices();
    poller = epoll_create1(0);
    struct place *places = calloc(concurrency, sizeof *places);
    if (poller < 0 || !places) die("start");
    double began = monotonic();
    for (size_t i = 0; i < concurrency; i++) take_next(&places[i]);
    struct epoll_event ready[64];
    while (finished + failed < device_count) {
        int count = epoll_wait(poller, ready, 64, 30000);
        if (count == 0) {
            fputs("nothing came for 30 s\n", stderr);
            return 1;
        }
        for (int i = 0; i < count; i++) on_readable(ready[i].data.ptr);
    }
    print_figures(monotonic() - began);
    return failed != 0;
}
