/* The plugin_opt_ lines of mosquitto.conf. */
#ifndef PROVISIONING_OPTIONS_H
#define PROVISIONING_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct mosquitto_opt; /* mosquitto_plugin.h */

struct options {
    char *url;         /* without a slash at its end */
    char *broker;
    char *secret_file;
    char *ca_file;     /* NULL: the system's authorities */
    long timeout_ms;
    bool grants;       /* topics are decided here, by what the answer to the login grants */
};

/* Reads the list into *options. On failure nothing is kept and *why names the option and the rule; values are
 * never repeated there, because one of them may be a secret in the wrong line. */
bool options_read(struct options *options, const struct mosquitto_opt *list, int count, char *why, size_t why_size);

void options_free(struct options *options);

#endif
