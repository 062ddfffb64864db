/* MQTT 3.1.1 as far as load needs it: packets to send, and a count of those that arrive. */
#ifndef MQTT_H
#define MQTT_H

#include <stddef.h>
#include <stdint.h>

enum mqtt_kind {
    MQTT_CONNECT = 1, MQTT_CONNACK = 2, MQTT_PUBLISH = 3, MQTT_PUBACK = 4, MQTT_SUBSCRIBE = 8, MQTT_SUBACK = 9,
    MQTT_PINGREQ = 12, MQTT_PINGRESP = 13, MQTT_KINDS = 16
};

#define MQTT_PACKET_MAX 2048

/* Each writes a packet into `to`, of MQTT_PACKET_MAX bytes, and returns its length; 0: it does not fit.
 * username NULL: without username and password. */
size_t mqtt_connect(uint8_t *to, const char *client_id, const char *username, const char *password);
size_t mqtt_publish(uint8_t *to, const char *topic, size_t payload_length, uint16_t packet_id); /* QoS 1 */
size_t mqtt_subscribe(uint8_t *to, const char *filter, uint16_t packet_id); /* QoS 0 */
size_t mqtt_pingreq(uint8_t *to);

/* Where in a stream of packets we are. Zeroes to begin with. */
struct mqtt_stream {
    enum mqtt_kind kind;
    size_t left;    /* bytes of the packet's rest */
    unsigned shift; /* of the next digit of its length */
    int state;      /* 0: before a packet, 1: in its length, 2: in its rest */
};

/* Adds each packet that ends in these bytes to counts[kind]. */
void mqtt_count(struct mqtt_stream *stream, const uint8_t *bytes, size_t length, uint64_t counts[MQTT_KINDS]);

#endif
