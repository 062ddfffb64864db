/* publish PORT USERS TOPIC WINDOW: the first user publishes with QoS 1 and 64 bytes, so many at a time unacknowledged.
 * Each line of standard input says how many, and is answered by a line of JSON. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "common.h"
#include "mqtt.h"

#define PAYLOAD 64

static void read_some(int fd, struct mqtt_stream *stream, uint64_t counts[MQTT_KINDS])
{
    uint8_t bytes[65536];
    ssize_t got;

    wait_readable(fd);
    got = recv(fd, bytes, sizeof bytes, 0);
    errno = got == 0 ? 0 : errno;
    if (got <= 0) die("cut off");
    mqtt_count(stream, bytes, (size_t)got, counts);
}

static void run(int fd, const char *topic, uint64_t total, uint64_t window)
{
    static uint8_t bytes[MQTT_PACKET_MAX * 64];
    struct mqtt_stream stream = {0};
    uint64_t counts[MQTT_KINDS] = {0}, sent = 0;

    while (counts[MQTT_PUBACK] < total) {
        size_t length = 0;

        while (sent < total && sent - counts[MQTT_PUBACK] < window && length < sizeof bytes - MQTT_PACKET_MAX) {
            length += mqtt_publish(bytes + length, topic, PAYLOAD, (uint16_t)(sent++ % 65535 + 1));
        }
        if (length > 0) send_all(fd, bytes, length);
        read_some(fd, &stream, counts);
    }
}

int main(int argc, char **argv)
{
    size_t count;
    uint64_t total, window;
    int fd;

    if (argc != 5) die("publish PORT USERS TOPIC WINDOW");
    window = (uint64_t)parse_number(argv[4], 1, 1000, "WINDOW");
    fd = come((int)parse_number(argv[1], 1, 65535, "PORT"), read_users(argv[2], &count));
    puts("{\"ready\":true}");
    (void)fflush(stdout);
    while (scanf("%lu", &total) == 1) {
        const int64_t began = now_ns();
        const double cpu = cpu_seconds();

        run(fd, argv[3], total, window);
        printf("{\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"acknowledged\":%lu}\n", (double)(now_ns() - began) / 1e9,
               cpu_seconds() - cpu, total);
        (void)fflush(stdout);
    }
    return 0;
}
