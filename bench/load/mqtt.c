#include "mqtt.h"

#include <string.h>

/* What a packet's rest is written to; `end` NULL: it did not fit. */
struct writer {
    uint8_t *start, *end;
};

static void put_bytes(struct writer *writer, const void *bytes, size_t length)
{
    if (writer->end == NULL) return;
    if (length > MQTT_PACKET_MAX - 4 - (size_t)(writer->end - writer->start)) {
        writer->end = NULL;
        return;
    }
    memcpy(writer->end, bytes, length);
    writer->end += length;
}

static void put_byte(struct writer *writer, uint8_t byte)
{
    put_bytes(writer, &byte, 1);
}

static void put_number(struct writer *writer, uint16_t number)
{
    put_byte(writer, (uint8_t)(number >> 8));
    put_byte(writer, (uint8_t)number);
}

static void put_text(struct writer *writer, const char *text)
{
    const size_t length = strlen(text);

    put_number(writer, (uint16_t)length);
    put_bytes(writer, text, length);
}

/* The fixed header in front of the rest. Section 2.2.3: a length in digits of seven bits. */
static size_t finish(uint8_t *to, const struct writer *writer, uint8_t first)
{
    size_t length, at = 1;

    if (writer->end == NULL) return 0;
    length = (size_t)(writer->end - writer->start);
    to[0] = first;
    for (size_t rest = length;;) {
        const uint8_t digit = rest & 0x7f;

        rest >>= 7;
        to[at++] = (uint8_t)(digit | (rest > 0 ? 0x80 : 0));
        if (rest == 0) break;
    }
    memmove(to + at, writer->start, length);
    return at + length;
}

static struct writer writer_at(uint8_t *to)
{
    return (struct writer){to + 4, to + 4};
}

size_t mqtt_connect(uint8_t *to, const char *client_id, const char *username, const char *password)
{
    struct writer writer = writer_at(to);
    const uint8_t clean = 0x02, user = 0x80, secret = 0x40;

    put_text(&writer, "MQTT");
    put_byte(&writer, 4);
    put_byte(&writer, username != NULL ? (uint8_t)(clean | user | secret) : clean);
    put_number(&writer, 300); /* seconds of keep-alive: nobody is cut off meanwhile */
    put_text(&writer, client_id);
    if (username != NULL) {
        put_text(&writer, username);
        put_text(&writer, password);
    }
    return finish(to, &writer, MQTT_CONNECT << 4);
}

size_t mqtt_publish(uint8_t *to, const char *topic, size_t payload_length, uint16_t packet_id)
{
    struct writer writer = writer_at(to);

    put_text(&writer, topic);
    put_number(&writer, packet_id);
    for (size_t i = 0; i < payload_length; i++) put_byte(&writer, 'x');
    return finish(to, &writer, MQTT_PUBLISH << 4 | 0x02);
}

size_t mqtt_subscribe(uint8_t *to, const char *filter, uint16_t packet_id)
{
    struct writer writer = writer_at(to);

    put_number(&writer, packet_id);
    put_text(&writer, filter);
    put_byte(&writer, 0);
    return finish(to, &writer, MQTT_SUBSCRIBE << 4 | 0x02);
}

size_t mqtt_pingreq(uint8_t *to)
{
    to[0] = (uint8_t)(MQTT_PINGREQ << 4);
    to[1] = 0;
    return 2;
}

static void begin_rest(struct mqtt_stream *stream, uint64_t counts[MQTT_KINDS])
{
    stream->state = 2;
    if (stream->left > 0) return;
    counts[stream->kind]++;
    stream->state = 0;
}

void mqtt_count(struct mqtt_stream *stream, const uint8_t *bytes, size_t length, uint64_t counts[MQTT_KINDS])
{
    for (size_t at = 0; at < length;) {
        if (stream->state == 0) {
            *stream = (struct mqtt_stream){.kind = bytes[at++] >> 4, .state = 1};
        } else if (stream->state == 1) {
            stream->left |= (size_t)(bytes[at] & 0x7f) << stream->shift;
            stream->shift += 7;
            if ((bytes[at++] & 0x80) == 0) begin_rest(stream, counts);
        } else {
            const size_t here = stream->left < length - at ? stream->left : length - at;

            at += here;
            stream->left -= here;
            if (stream->left == 0) begin_rest(stream, counts);
        }
    }
}
