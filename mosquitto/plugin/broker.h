/* The few numbers of Mosquitto's API that the plugin needs.
 *
 * They stand in mosquitto.h, which Debian ships in libmosquitto-dev, while plugins build against mosquitto-dev
 * alone. They are part of the broker's binary interface and have been the same since 1.x (2.0.11: lib/mosquitto.h). */
#ifndef PROVISIONING_BROKER_H
#define PROVISIONING_BROKER_H

enum broker_result {
    BROKER_SUCCESS = 0,
    BROKER_NO_MEMORY = 1,
    BROKER_INVALID = 3,
    BROKER_AUTH = 11,       /* CONNECT: CONNACK 5 (MQTT 5: 0x87) */
    BROKER_ACL_DENIED = 12, /* drops the message, refuses the filter */
    BROKER_UNKNOWN = 13     /* trouble: Mosquitto cuts the connection, a CONNECT gets no CONNACK */
};

enum broker_log_level {
    BROKER_LOG_NOTICE = 2,
    BROKER_LOG_WARNING = 4,
    BROKER_LOG_ERROR = 8
};

#endif
