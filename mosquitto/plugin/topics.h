/* Topics and topic filters (MQTT 5, section 4.7), as service/core/topics.py has them. */
#ifndef PROVISIONING_TOPICS_H
#define PROVISIONING_TOPICS_H

#include <stdbool.h>

/* Whether every topic that filter `narrow` matches is matched by filter `wide` as well. A topic is a filter without
 * wildcards, so this one function serves a READ, a WRITE and a SUBSCRIBE. */
bool topics_cover(const char *wide, const char *narrow);

/* A well-formed topic filter: UTF-8, 1 to 65535 bytes, wildcards alone in their level, # last. */
bool topics_is_filter(const char *text);

/* A well-formed topic name: a filter without wildcards. */
bool topics_is_name(const char *text);

#endif
